"""The JSON of an error response."""

from __future__ import annotations

import orjson
import pytest

from adapters.errors import BadParam, ImageError, ProviderError, refusal
from proxy.errors import (
    BadRequest,
    GatewayError,
    RequestTimeout,
    Unauthorized,
    UpstreamFailed,
    error_body,
    may_have_been_charged,
    set_headers,
    to_client_error,
)

FIELDS = {"message", "type", "param", "code"}


def test_every_failure_is_an_openai_error_with_all_four_fields() -> None:
    for error in (
        *(BadRequest("m"), GatewayError("m"), RequestTimeout("m"), Unauthorized("m")),
        *(UpstreamFailed("m"), BadParam("n", "m"), refusal("m")),
    ):
        assert orjson.loads(error_body(error))["error"].keys() == FIELDS


def test_portkeys_fields_stand_beside_it_where_portkey_has_them() -> None:
    body = orjson.loads(error_body(BadRequest("m", legacy="Invalid config passed")))
    assert (body["status"], body["message"]) == ("failure", "Invalid config passed")
    body = orjson.loads(error_body(BadRequest("m")))
    assert (body["status"], body["message"]) == ("failure", "m")
    assert "status" not in orjson.loads(error_body(RequestTimeout("m")))


def test_a_providers_own_openai_error_keeps_its_bytes() -> None:
    assert error_body(ProviderError("m", body=b'{"error": {}}')) == b'{"error": {}}'


def test_a_timeout_reads_as_documented() -> None:
    error = RequestTimeout("Request exceeded the timeout sent in the request: 300ms")
    wanted = {"type": "timeout_error", "param": None, "code": None}
    assert (error.status, error.to_dict()) == (408, {"message": error.message, **wanted})


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (UpstreamFailed("lost", code="connection_lost"), True),
        (UpstreamFailed("late", status=504, code="timeout"), True),
        (RequestTimeout("late"), True),
        (ProviderError("late", provider_status=504, code="of_its_own"), True),
        (ProviderError("late", status=504, code="timeout"), True),
        (UpstreamFailed("no connection"), False),
        (UpstreamFailed("no connection in time", status=504), False),
        (ProviderError("no", provider_status=500), False),
        (refusal("no"), False),
    ],
)
def test_an_outcome_is_unknown_once_a_request_went_out_and_nothing_came_back(
    error: ImageError, *, unknown: bool
) -> None:
    assert may_have_been_charged(error) is unknown


def test_a_header_that_is_put_replaces_one_that_is_spelled_otherwise() -> None:
    error = ProviderError("no")
    error.headers = {"X-Should-Retry": "true", "Retry-After": "1"}
    set_headers(error, {"x-should-retry": "false"})
    assert error.headers == {"Retry-After": "1", "x-should-retry": "false"}


def test_a_bug_is_told_to_the_log_by_its_place_and_to_nobody_by_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = BadRequest("m")
    assert to_client_error(refused, "t1") is refused
    told = to_client_error(KeyError("a secret prompt"), "t2")
    assert (told.status, "secret" in told.message + caplog.text) == (500, False)
    assert "trace t2: KeyError" in caplog.text
