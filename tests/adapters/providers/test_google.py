"""The Gemini API: where the key and the model's name stand, and errors in Google's form."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam
from adapters.http import ProviderReply
from adapters.providers.google import ADAPTER


def error_tree(number: int, reason: str, **error: Any) -> dict[str, Any]:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
    return {"error": {"code": number, "message": "no", "details": details, **error}}


def test_the_key_is_in_its_header_and_nowhere_else() -> None:
    outgoing = SignableRequest("POST", ADAPTER.base_url, {}, b"", 0)
    assert ADAPTER.sign(outgoing, Credentials("k")) == {"x-goog-api-key": "k"}
    assert "key" not in ADAPTER.build_request(ImageCall({"model": "gemini-new"}, {})).path


@pytest.mark.parametrize("model", ["", "../x", "a/../b", "a?b", "a#b"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        ADAPTER.build_request(ImageCall({"model": model}, {}))


@pytest.mark.parametrize("listed", [False, True])
def test_a_wrong_key_is_known_by_its_reason_in_an_array_too(*, listed: bool) -> None:
    tree: Any = error_tree(400, "API_KEY_INVALID", status="INVALID_ARGUMENT")
    error = ADAPTER.provider_error(
        ProviderReply(400, body=orjson.dumps([tree] if listed else tree))
    )
    assert (error.status, error.code, error.provider_status) == (401, "invalid_api_key", 400)


@pytest.mark.parametrize(("status", "ours"), [(400, 400), (403, 403), (500, 502), (503, 503)])
def test_any_other_error_is_its_status(status: int, ours: int) -> None:
    error = ADAPTER.provider_error(
        ProviderReply(status, body=orjson.dumps(error_tree(status, "QUITE_NEW")))
    )
    assert error.status == ours
