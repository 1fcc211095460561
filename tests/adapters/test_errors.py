"""The tree of errors, and what a provider's status and words become."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import (
    MESSAGE_LIMIT,
    REFUSAL_WORDS,
    REFUSED,
    BadParam,
    ImageError,
    ProviderError,
    Refusal,
    error_from_reply,
    find_error_message,
    no_image_error,
    refusal,
    status_from_codes,
    status_from_phrases,
)
from adapters.http import ProviderReply


def reply(status: int, tree: Any = None) -> ProviderReply:
    return ProviderReply(status, {"content-type": "application/json"}, orjson.dumps(tree))


# The tree


def test_a_refusal_is_a_providers_error_and_a_bad_param_is_not() -> None:
    assert issubclass(Refusal, ProviderError)
    assert issubclass(ProviderError, ImageError)
    assert not issubclass(BadParam, ProviderError)


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "param"),
    [
        (ImageError("no"), 500, "server_error", None, None),
        (BadParam("size", "no"), 400, "invalid_request_error", "invalid_value", "size"),
        (ProviderError("no"), 502, "server_error", None, None),
        (Refusal("no"), 400, "image_generation_user_error", "moderation_blocked", None),
        (no_image_error(), 502, "server_error", "no_picture", None),
        (refusal("no"), 400, "image_generation_user_error", "moderation_blocked", None),
    ],
)
def test_an_error_knows_its_status_and_object(
    error: ImageError, status: int, kind: str, code: str | None, param: str | None
) -> None:
    assert error.status == status
    assert error.to_dict() == {
        "message": error.message,
        "type": kind,
        "param": param,
        "code": code,
    }


def test_one_error_does_not_change_the_next() -> None:
    ProviderError("no", status=504, type="odd", code="timeout", param="size")
    assert ProviderError("no").to_dict() == {**ProviderError("no").to_dict(), "code": None}
    assert (ProviderError("no").status, ProviderError("no").type) == (502, "server_error")


def test_a_message_is_cut() -> None:
    assert len(error_from_reply(reply(400, {"message": "x" * 9999})).message) == MESSAGE_LIMIT


# A provider's status


@pytest.mark.parametrize(
    ("provider_status", "status", "kind", "code"),
    [
        (400, 400, "invalid_request_error", None),
        (401, 401, "authentication_error", "invalid_api_key"),
        (402, 429, "insufficient_quota", "insufficient_quota"),
        (403, 403, "permission_error", None),
        (404, 404, "invalid_request_error", "model_not_found"),
        (408, 504, "server_error", "timeout"),
        (409, 400, "invalid_request_error", None),
        (413, 413, "invalid_request_error", "request_too_large"),
        (422, 400, "invalid_request_error", None),
        (424, 502, "server_error", None),
        (429, 429, "rate_limit_error", "rate_limit_exceeded"),
        (500, 502, "server_error", None),
        (503, 503, "server_error", "overloaded"),
        (504, 504, "server_error", "timeout"),
        (529, 503, "server_error", "overloaded"),
        (599, 502, "server_error", None),
    ],
)
def test_a_status_keeps_its_meaning(
    provider_status: int, status: int, kind: str, code: str | None
) -> None:
    error = error_from_reply(reply(provider_status))
    assert (error.status, error.type, error.code) == (status, kind, code)
    assert error.provider_status == provider_status


def test_what_the_adapter_knows_better_wins() -> None:
    error = error_from_reply(
        reply(429, {"message": "no"}), message="paid out", code="spent", param="n"
    )
    assert (error.code, error.param) == ("spent", "n")
    assert error.message.endswith("paid out")


def test_a_refusal_remembers_the_status_on_the_wire() -> None:
    assert refusal("no", provider_status=403).provider_status == 403
    assert refusal("no").provider_status == 200


# A provider's words


@pytest.mark.parametrize(
    "said", ["NSFW content found", "Request Moderated", "against the content policy"]
)
def test_the_usual_words_of_a_refusal_are_known(said: str) -> None:
    assert REFUSAL_WORDS.search(said)


@pytest.mark.parametrize("said", ["disable_safety_checker is not available", "no such moderation"])
def test_a_complaint_about_a_parameter_of_safety_is_no_refusal(said: str) -> None:
    assert not REFUSAL_WORDS.search(said)


@pytest.mark.parametrize(
    "tree",
    [
        {"error": {"message": "too wide"}},
        {"error": "too wide"},
        {"error": ["too wide"]},
        {"detail": [{"loc": ["body", "width"], "msg": "too wide"}]},
        {"detail": "too wide", "title": "Invalid input"},
        {"detail": {"error": "too wide"}},
        {"errors": [{"message": "too wide", "code": 5004}]},
        {"errors": ["too wide"]},
        [{"message": "too wide", "path": []}],
        {"message": "too wide"},
        {"fault": {"faultstring": "too wide"}},
        {"title": "too wide"},
    ],
)
def test_the_sentence_is_found_where_providers_put_it(tree: Any) -> None:
    assert find_error_message(reply(400, tree)) == "too wide"
    assert error_from_reply(reply(400, tree)).message == "The provider answered: too wide"


@pytest.mark.parametrize(
    "tree",
    [
        {"Response": {"JobErrorCode": "Illegal.Text", "JobErrorMsg": "no"}},
        {"task": {"status": "FAILED", "reason": "Illegal.Text"}},
    ],
)
def test_a_job_that_failed_says_why_as_a_request_does(tree: dict[str, Any]) -> None:
    assert status_from_codes(reply(200, tree), {"Illegal": REFUSED}) == REFUSED
    assert find_error_message(reply(200, tree))


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[]", b"null", b'{"a":1}'])
def test_without_a_sentence_the_status_has_to_do(body: bytes) -> None:
    assert "status 502" in error_from_reply(ProviderReply(502, {}, body)).message


def test_the_field_that_a_list_of_details_complains_of_is_named() -> None:
    tree = {"detail": [{"loc": ["body", "width"], "msg": "too wide"}]}
    assert error_from_reply(reply(422, tree)).param == "width"
    assert error_from_reply(reply(422, {"detail": [{"loc": [], "msg": "no"}]})).param is None
    assert error_from_reply(reply(422, {"detail": [{"loc": ["body"], "msg": "no"}]})).param is None


@pytest.mark.parametrize(("told", "param"), [("size", "size"), ("", None), (7, None)])
def test_the_field_that_an_error_names_is_named(told: object, param: str | None) -> None:
    assert error_from_reply(reply(400, {"error": {"message": "no", "param": told}})).param == param


@given(status=st.integers(100, 999), body=st.binary(max_size=50))
def test_any_reply_becomes_an_error_for_the_client(status: int, body: bytes) -> None:
    error = error_from_reply(ProviderReply(status, {}, body))
    assert 400 <= error.status < 600
    assert error.message


@pytest.mark.parametrize(
    ("tree", "status"),
    [
        ({"error": {"code": "Throttling.RateQuota"}}, 429),
        ({"code": "Throttling.AllocationQuota"}, 402),
        ({"base_resp": {"status_code": 1026}}, REFUSED),
        ({"error": {"code": 429, "details": [{"reason": "Throttling"}]}}, 429),
        ({"error": {"code": "BadRequest", "innererror": {"code": "1026"}}}, REFUSED),
        ([{"error": {"status": "Throttling"}}], 429),
        ({"error": {"code": True}}, 0),
        ({"error": "words"}, 0),
        ([], 0),
    ],
)
def test_the_longest_code_that_fits_says_what_a_reply_means(tree: object, status: int) -> None:
    codes = {"Throttling": 429, "Throttling.Alloc": 402, "1026": REFUSED}
    assert status_from_codes(ProviderReply(200, body=orjson.dumps(tree)), codes) == status


def test_the_first_phrase_that_fits_says_what_a_sentence_means() -> None:
    phrases = {"rate limit": 429, "limit": 402}
    assert status_from_phrases("A Rate Limit was hit", phrases) == 429
    assert status_from_phrases("Your limit is used up", phrases) == 402
    assert status_from_phrases("no", phrases) == status_from_phrases("", phrases) == 0


def test_a_success_that_is_a_failure_is_a_502_unless_its_meaning_is_known() -> None:
    reply = ProviderReply(200, body=b'{"message": "odd"}')
    assert (error_from_reply(reply).status, error_from_reply(reply, status=404).status) == (
        502,
        404,
    )
    assert error_from_reply(reply, status=404).code == "model_not_found"
    assert error_from_reply(reply, status=404).provider_status == 200
