"""MonsterAPI: three shapes, and the reason of a failure."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.monsterapi import ADAPTER


def translate(**params: Any) -> dict[str, Any]:
    return ADAPTER.table_for("sdxl-base").translate(params).fields


def make_reply(**tree: Any) -> ProviderReply:
    return ProviderReply(200, {}, orjson.dumps(tree))


@pytest.mark.parametrize("model", ["", "../status", "a?b"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        ADAPTER.build_request(ImageCall({"model": model}, {}))


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("512x512", "square"),
        ("1792x1024", "landscape"),
        ("1024x1536", "portrait"),
        ("1024x1000", "square"),
    ],
)
def test_a_size_is_one_of_three_shapes(size: str, shape: str) -> None:
    assert translate(size=size)["aspect_ratio"] == shape


def test_how_many_samples_is_always_said() -> None:
    assert translate(prompt="x") == {"prompt": "x", "samples": 1}


def test_a_clients_style_is_not_taken_for_a_models() -> None:
    assert translate(style="vivid", style_preset="anime")["style"] == "anime"


def test_no_client_has_monsterapi_call_an_address() -> None:
    assert "callback_url" not in translate(prompt="x", callback_url="https://a.test")


def test_the_message_of_a_submission_is_no_error() -> None:
    question = ADAPTER.build_poll_request(
        ImageCall({}, {}), make_reply(message="accepted", process_id="7")
    )
    assert question
    assert question.path == "/status/7"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("NSFW content", Refusal),
        ("Against the content policy", Refusal),
        ("out of memory", ProviderError),
    ],
)
def test_the_reason_of_a_failure_tells_a_refusal(reason: str, kind: type[ProviderError]) -> None:
    with pytest.raises(ProviderError, match=reason) as caught:
        ADAPTER.parse_answer(
            ImageCall({}, {}), make_reply(status="FAILED", result={"errorMessage": reason})
        )
    assert type(caught.value) is kind
