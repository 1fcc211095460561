"""OpenRouter: its own path and names, codes that are statuses, refusals known by metadata."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall, SignableRequest
from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.openrouter import ADAPTER

OUTGOING = SignableRequest("POST", "https://openrouter.ai/api/v1/images", {}, b"", 0.0)


def translate(model: str = "openai/gpt-image-2", **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def parse_error(status: int = 200, **told: Any) -> ProviderError:
    return ADAPTER.provider_error(ProviderReply(status, {}, orjson.dumps({"error": told})))


def event(**data: Any) -> Answer:
    return ADAPTER.parse_event(ImageCall({}, {}), data)


def test_an_app_is_named_only_when_it_named_itself() -> None:
    plain = ADAPTER.sign(OUTGOING, Credentials("k"))
    named = ADAPTER.sign(OUTGOING, Credentials("k", {"openrouter_title": "Acme"}))
    assert plain == {"authorization": "Bearer k"}
    assert named == {"authorization": "Bearer k", "x-openrouter-title": "Acme"}


def test_several_images_are_asked_for_only_where_that_is_known_to_work() -> None:
    assert ADAPTER.table_for("openai/gpt-image-2").images_per_call == 10
    assert ADAPTER.table_for("black-forest-labs/flux.2-pro").images_per_call == 1


@pytest.mark.parametrize("size", ["256x256", "1792x1024", "3840x2160"])
def test_a_size_goes_as_it_is(size: str) -> None:
    assert translate(size=size) == {"size": size}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [("hd", "high"), ("standard", "medium"), ("low", "low"), ("auto", "auto"), ("max", "max")],
)
def test_dall_es_qualities_have_counterparts(asked: str, sent: str) -> None:
    assert translate(quality=asked) == {"quality": sent}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, 400),
        (401, 401),
        (402, 429),
        (404, 404),
        (429, 429),
        (499, 502),
        (524, 504),
        (503, 503),
    ],
)
def test_a_code_is_a_status_even_inside_of_a_success(code: int, status: int) -> None:
    assert parse_error(code=code, message="no").status == status


def test_a_code_that_is_none_leaves_it_to_the_status() -> None:
    assert parse_error(code=1).status == 502
    assert parse_error(404, code=None, message="no").status == 404


@pytest.mark.parametrize(
    "about", [{"reasons": ["violence"]}, {"flagged_input": "x"}, {"patterns": ["email"]}]
)
def test_moderation_and_guardrails_are_known_by_their_metadata(about: dict[str, Any]) -> None:
    refused = parse_error(403, code=403, message="no", metadata=about)
    assert isinstance(refused, Refusal)
    assert "x" not in refused.message.partition(": ")[2]


def test_a_key_without_rights_is_no_refusal() -> None:
    error = parse_error(403, code=403, message="no", metadata={"provider_name": "Acme"})
    assert (isinstance(error, Refusal), error.status) == (False, 403)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('{"error": {"code": "moderation_blocked", "message": "unsafe"}}', "unsafe"),
        ('{"detail": "NSFW content"}', "NSFW content"),
    ],
)
def test_a_refusal_of_the_provider_behind_it_stands_in_the_metadata(raw: str, said: str) -> None:
    about = {"raw": raw, "provider_name": "OpenAI"}
    refused = parse_error(400, code=400, message="Provider returned error", metadata=about)
    assert isinstance(refused, Refusal)
    assert said in refused.message


@pytest.mark.parametrize("raw", ['{"error": {"message": "one image only"}}', "busy", "", {}, None])
def test_any_other_error_behind_it_is_told_of(raw: Any) -> None:
    error = parse_error(400, code=400, message="Provider returned error", metadata={"raw": raw})
    assert (isinstance(error, Refusal), error.status) == (False, 400)
    expected = {"busy": "busy", "": "Provider returned error"}
    said = expected.get(raw if isinstance(raw, str) else "", "one image only")
    assert said in error.message


def test_text_of_a_vector_image_is_no_image_yet() -> None:
    assert event(type="image_generation.text", phase="draft", text="<svg") == Answer(())


def test_an_error_event_fails_the_stream() -> None:
    with pytest.raises(ProviderError) as caught:
        event(type="error", error={"message": "no", "code": 402})
    assert caught.value.code == "insufficient_quota"
