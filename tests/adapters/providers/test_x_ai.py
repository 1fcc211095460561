"""xAI: ratio and tier, refusals inside a success, a wrong key inside a bad request."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, ImageCall
from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.x_ai import ADAPTER

NEWEST = "grok-imagine-image-2.0"


def translate(model: str = NEWEST, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def parse_answer(**tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(200, {}, orjson.dumps(tree)))


def parse_error(status: int, tree: Any) -> ProviderError:
    return ADAPTER.provider_error(ProviderReply(status, {}, orjson.dumps(tree)))


@pytest.mark.parametrize(
    ("size", "ratio", "tier"),
    [
        ("256x256", "1:1", "1k"),
        ("1024x1792", "9:16", "1k"),
        ("3840x2160", "16:9", "2k"),
        ("800x1760", "9:20", "1k"),
    ],
)
def test_a_size_becomes_a_ratio_and_a_tier(size: str, ratio: str, tier: str) -> None:
    assert translate(size=size) == {"aspect_ratio": ratio, "resolution": tier}


def test_an_open_size_is_left_to_the_model() -> None:
    assert translate(size="auto") == {}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [("low", "low"), ("standard", "medium"), ("medium", "medium"), ("max", "medium")],
)
def test_a_quality_becomes_one_that_has_a_price(asked: str, sent: str) -> None:
    assert translate(quality=asked) == {"quality": sent}


def test_a_quality_above_medium_is_told_of_as_rounded() -> None:
    told = [
        str(ADAPTER.table_for(NEWEST).translate({"quality": it}).receipt) for it in ("hd", "auto")
    ]
    assert told == ["rounded quality=hd>quality=medium", "dropped quality=auto"]


@pytest.mark.parametrize("model", ["grok-imagine-image", "grok-imagine-image-quality", "grok-9"])
def test_only_the_newest_model_has_qualities(model: str) -> None:
    assert translate(model, quality="low") == {}


def test_a_blocked_prompt_is_refused_with_its_reason() -> None:
    with pytest.raises(Refusal, match="violence"):
        parse_answer(block_reason="violence", data=[])


def test_a_image_held_back_is_a_refusal_when_there_is_no_other() -> None:
    nothing = {"url": None, "b64_json": None, "respect_moderation": False}
    with pytest.raises(Refusal):
        parse_answer(data=[nothing, nothing])
    images = parse_answer(data=[nothing, {"url": "https://imgen.x.ai/a.jpeg"}]).images
    assert [it.url for it in images] == ["https://imgen.x.ai/a.jpeg"]


def test_nothing_at_all_is_no_refusal() -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer(block_reason=None, data=[])


def test_ticks_become_dollars() -> None:
    url = "https://imgen.x.ai/a.jpeg"
    told = parse_answer(data=[{"url": url}], usage={"cost_in_usd_ticks": 200_000_000}).usage
    assert told
    assert told["cost"] == 0.02
    assert parse_answer(data=[{"url": url}]).usage is None


@pytest.mark.parametrize(
    "tree", [{"error": "no"}, {"error": {"message": "no"}}, {"code": "bad", "error": "no"}]
)
def test_the_sentence_is_found_in_every_form(tree: Any) -> None:
    assert parse_error(422, tree).message == "The provider answered: no"


def test_a_wrong_key_is_no_bad_request() -> None:
    error = parse_error(400, {"code": "x", "error": "Incorrect API key provided: te***89."})
    assert (error.status, error.code, error.provider_status) == (401, "invalid_api_key", 400)
    assert parse_error(400, {"error": "Invalid aspect ratio"}).status == 400
