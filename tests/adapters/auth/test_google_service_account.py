"""Service accounts: what of a key file is believed, and what is asserted with it."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from adapters.auth.google_service_account import KEY, OPTIONS, PROJECT, get_project, request_token
from adapters.contract import Credentials
from adapters.errors import BadParam
from adapters.http import ProviderRequest

FILE = {
    "type": "service_account",
    "project_id": "my-project",
    "private_key_id": "key-1",
    "private_key": "-----A KEY-----\nAAAA\n",
    "client_email": "a@my-project.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}
NOW = 1_800_000_000.9


def credentials_with(**changed: Any) -> Credentials:
    return Credentials("", {KEY: orjson.dumps({**FILE, **changed}).decode()})


def build_request(**changed: Any) -> ProviderRequest:
    return next(request_token(credentials_with(**changed), NOW))


def test_the_file_as_it_is_downloaded_is_of_the_form() -> None:
    text = orjson.dumps(FILE, option=orjson.OPT_INDENT_2).decode()
    pattern = next(option.pattern for option in OPTIONS if option.name == KEY)
    assert re.fullmatch(pattern, f"{text}\n")
    assert not re.fullmatch(pattern, "/etc/key.json")


def test_its_secrets_are_secret() -> None:
    assert all(option.secret for option in OPTIONS)


def test_the_assertion_says_who_wants_what_of_whom_for_an_hour() -> None:
    request = build_request()
    assert request.assertion is not None
    assert request.assertion.claims == {
        "iss": FILE["client_email"],
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": request.url,
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
    }
    assert (request.assertion.private_key, request.assertion.key_id) == (
        FILE["private_key"],
        "key-1",
    )
    assert not request.authenticated


def test_line_ends_that_were_escaped_twice_are_mended() -> None:
    assertion = build_request(private_key="-----A KEY-----\\nAAAA\\n").assertion
    assert assertion is not None
    assert assertion.private_key == FILE["private_key"]


def test_without_a_token_uri_it_is_googles_usual_one() -> None:
    assert build_request(token_uri=None).url == FILE["token_uri"]


@pytest.mark.parametrize(
    "place",
    [
        "https://googleapis.com/token",
        "https://www.googleapis.com/oauth2/v4/token",
        "https://accounts.google.com/o/oauth2/token",
    ],
)
def test_an_assertion_may_go_to_google(place: str) -> None:
    assert build_request(token_uri=place).url == place


@pytest.mark.parametrize(
    "place",
    [
        "http://oauth2.googleapis.com/token",
        "https://evil.test/token",
        "https://googleapis.com.evil.test/token",
        "https://evilgoogleapis.com/token",
        "https://oauth2.googleapis.com@evil.test/token",
        "https://evil.test/?x=.googleapis.com/token",
        "https://evil.test#.googleapis.com/token",
        "https://evil.test\\.googleapis.com/token",
        "https://oauth2.googleapis.com:8443/token",
        "https://oauth2.googleapis.com/token\n",
        "//oauth2.googleapis.com/token",
    ],
)
def test_an_assertion_goes_nowhere_else(place: str) -> None:
    with pytest.raises(BadParam, match="token_uri"):
        build_request(token_uri=place)


@pytest.mark.parametrize("missing", ["client_email", "private_key"])
@pytest.mark.parametrize("value", [None, "", 7])
def test_half_a_file_is_refused_by_name(missing: str, value: Any) -> None:
    with pytest.raises(BadParam, match=missing) as caught:
        build_request(**{missing: value})
    assert caught.value.param == KEY
    assert "A KEY" not in caught.value.message


@pytest.mark.parametrize("text", ["{", "{]}", "{'a': 1}", '{"a": \n'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadParam, match="not JSON"):
        next(request_token(Credentials("", {KEY: text}), NOW))


@pytest.mark.parametrize("name", ["my-project", "123456789012", "example.com:my-project"])
def test_the_account_names_its_project(name: str) -> None:
    assert get_project(credentials_with(project_id=name)) == name


@pytest.mark.parametrize("name", [None, "", "..", "a/b", "a?b", "a#b", "../x:y", "A", "a" * 64, 7])
def test_a_project_that_would_leave_its_place_is_refused(name: Any) -> None:
    assert not isinstance(name, str) or not re.fullmatch(PROJECT, name)
    with pytest.raises(BadParam, match="vertex_project_id"):
        get_project(credentials_with(project_id=name))
