"""AWS credentials: values that keep their place, and roles."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

import pytest

from adapters.auth.aws import OPTIONS, assume_role, sign
from adapters.contract import AccessToken, Credentials, SignableRequest, TokenFlow
from adapters.errors import ImageError
from adapters.http import ProviderReply

PATTERNS = {option.name: option.pattern for option in OPTIONS}
TIME = 1_795_341_600
"""2026-11-22 10:00:00 UTC."""
ROLE = (
    b"<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>a+b/c</SecretAccessKey>"
    b"<SessionToken>\ndG9rZW4=\n</SessionToken></Credentials>"
)


def credentials(**options: str) -> Credentials:
    key = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "test-secret-0123456789"}
    return Credentials("", {f"aws_{name}": value for name, value in {**key, **options}.items()})


def assuming(**options: str) -> TokenFlow:
    return assume_role(credentials(role_arn="arn:aws:iam::1:role/r", **options), TIME)


def granted(reply: ProviderReply) -> AccessToken:
    flow = assuming()
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(reply)
    grant: AccessToken = end.value.value
    return grant


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("aws_region", "us-east-1.evil.example#"),
        ("aws_region", "us-east-1/"),
        ("aws_region", "localhost"),
        ("aws_access_key_id", "AKID/20261122"),
        ("aws_session_token", "a\r\nx: y"),
    ],
)
def test_a_value_that_would_leave_its_place_is_not_of_the_form(option: str, value: str) -> None:
    assert not re.fullmatch(PATTERNS[option], value)


def test_without_a_region_it_is_us_east_1() -> None:
    outgoing = SignableRequest("POST", "https://sts.us-east-1.amazonaws.com/", {}, b"", TIME)
    assert "/us-east-1/sts/aws4_request" in sign(outgoing, credentials(), "sts")["authorization"]


def test_the_question_to_sts_names_the_role_and_nobody_else_signs_it() -> None:
    request = next(assuming())
    assert not request.authenticated
    assert parse_qs(request.content or b"")[b"RoleArn"] == [b"arn:aws:iam::1:role/r"]


def test_the_question_to_sts_is_signed_with_the_time_given() -> None:
    headers = next(assuming(region="eu-west-1", session_token="dG9rZW4=")).headers
    assert headers["x-amz-date"] == "20261122T100000Z"
    assert headers["x-amz-security-token"] == "dG9rZW4="
    assert "/20261122/eu-west-1/sts/aws4_request" in headers["authorization"]


def test_the_role_has_an_access_key_of_its_own_for_an_hour() -> None:
    grant = granted(ProviderReply(body=ROLE))
    assert grant.options["aws_access_key_id"] == "ASIAEXAMPLE"
    assert grant.options["aws_session_token"] == "dG9rZW4="
    assert grant.expires_in == 3600


@pytest.mark.parametrize("body", [b"", b"\xff<AccessKeyId>A</AccessKeyId>", b"<Credentials/>"])
def test_without_all_three_parts_of_the_key_no_role_is_assumed(body: bytes) -> None:
    flow = assuming()
    next(flow)
    with pytest.raises(ImageError) as caught:
        flow.send(ProviderReply(200, body=body))
    assert caught.value.status == 502
