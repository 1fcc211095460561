"""Token endpoints: what they grant, for how long, and what no means."""

from __future__ import annotations

import pytest

from adapters.auth.oauth2 import request_token
from adapters.contract import AccessToken
from adapters.errors import ImageError
from adapters.http import ProviderReply, ProviderRequest

REQUEST = ProviderRequest(url="https://a.test/token")


def granted(status: int, body: bytes) -> AccessToken:
    flow = request_token(REQUEST, "a_token", "The Shop")
    assert next(flow) is REQUEST
    with pytest.raises(StopIteration) as end:
        flow.send(ProviderReply(status, body=body))
    grant: AccessToken = end.value.value
    return grant


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(b', "expires_in": 3599', 3599), (b"", 300), (b', "expires_in": "x"', 300)],
)
def test_a_token_lasts_as_long_as_its_endpoint_says(told: bytes, seconds: int) -> None:
    grant = granted(200, b'{"access_token": "t"' + told + b"}")
    assert (grant.options, grant.expires_in) == ({"a_token": "t"}, seconds)


@pytest.mark.parametrize(
    ("status", "body", "ours", "said"),
    [
        (200, b"{}", 502, "The Shop answered without a token."),
        (400, b'{"error_description": "gone"}', 401, "no token from The Shop: gone"),
        (401, b'{"error": "invalid_client"}', 401, "invalid_client"),
        (403, b'{"error": "no"}', 403, "no"),
        (500, b'{"access_token": "t"}', 502, "status 500"),
    ],
)
def test_no_token_is_an_error(status: int, body: bytes, ours: int, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        granted(status, body)
    assert caught.value.status == ours
    assert said in caught.value.message
