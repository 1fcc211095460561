"""AI/ML API: tables by maker, answers of three forms, credits that are forbidden."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Answer, ImageCall
from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.aimlapi import ADAPTER

SEEDREAM = "bytedance/dola-seedream-5-0-pro"
BOUNDS = {
    "flux-pro": (256, 1440, 32),
    "flux-pro/v1.1": (256, 1440, 32),
    "flux/schnell": (64, 1536, 32),
    "flux/dev": (512, 1536, 32),
    "blackforestlabs/flux-2-pro": (512, 2048, 32),
    SEEDREAM: (1024, 2752, 1),
    "bytedance/seedream-5-0-lite-preview": (1440, 4096, 1),
    "alibaba/qwen-image-3": (384, 2048, 32),
    "alibaba/qwen-image-2-0-pro": (512, 1440, 32),
    "alibaba/wan-2-7-image": (512, 1440, 32),
    "recraft-v3": (64, 1536, 32),
}


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def parse_answer(**tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(201, {}, orjson.dumps(tree)))


def parse_error(status: int, message: Any) -> ProviderError:
    return ADAPTER.provider_error(ProviderReply(status, {}, orjson.dumps({"message": message})))


@pytest.mark.parametrize("model", BOUNDS)
@given(width=st.integers(10, 99_999), height=st.integers(10, 99_999))
def test_sides_are_within_the_models_bounds(model: str, width: int, height: int) -> None:
    sides = translate(model, size=f"{width}x{height}")["image_size"].values()
    low, high, step = BOUNDS[model]
    assert low <= min(sides) <= max(sides) <= high
    assert [side % step for side in sides] == [0, 0]


def test_steps_are_not_sent_to_who_has_none() -> None:
    assert "num_inference_steps" in translate("flux-pro", num_inference_steps=20)
    assert "num_inference_steps" not in translate("flux-pro/v1.1", num_inference_steps=20)


def test_a_image_to_work_from_says_the_size() -> None:
    image = "https://a.test/1.png"
    made_of = translate("flux/dev/image-to-image", image_url=image, size="1024x1024", strength=0.5)
    assert made_of == {"image_url": image, "strength": 0.5}


@pytest.mark.parametrize("model", BOUNDS)
def test_a_square_is_asked_for_where_nothing_is(model: str) -> None:
    side = max(1024, BOUNDS[model][0])
    assert translate(model)["image_size"] == {"width": side, "height": side}


def test_a_word_takes_the_place_of_a_size() -> None:
    assert translate("flux/dev", image_size="portrait_4_3") == {"image_size": "portrait_4_3"}
    assert translate(SEEDREAM, image_size="1.5K") == {"image_size": "1.5K"}


@pytest.mark.parametrize("model", ["flux-pro/v1.1-ultra", "flux/kontext-max/text-to-image"])
def test_some_know_ratios_only(model: str) -> None:
    assert translate(model, size="1792x1024") == {"aspect_ratio": "16:9"}
    assert translate(model, aspect_ratio="3:2") == {"aspect_ratio": "3:2"}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"aspect_ratio": "1:1"}),
        ({"size": "auto"}, {"aspect_ratio": "1:1"}),
        ({"resolution": "2K"}, {"resolution": "2K", "aspect_ratio": "1:1"}),
        ({"size": "2048x1152"}, {"aspect_ratio": "16:9", "resolution": "2K"}),
        ({"aspect_ratio": "4:3"}, {"aspect_ratio": "4:3"}),
        ({"image_urls": ["https://a.test/1"]}, {"image_urls": ["https://a.test/1"]}),
    ],
)
def test_nano_banana_draws_a_square_unless_something_else_says_its_shape(
    asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert translate("google/gemini-nano-banana-2.1", **asked) == sent


@pytest.mark.parametrize(
    ("model", "count"), [("flux/dev", 4), ("openai/gpt-image-2", 1), ("minimax/image-01", 9)]
)
def test_several_at_once_depend_on_the_family(model: str, count: int) -> None:
    assert ADAPTER.table_for(model).images_per_call == count


def test_a_model_of_no_known_family_gets_its_prompt() -> None:
    params = {"prompt": "a cube", "size": "1024x1024", "response_format": "url", "seed": 7}
    assert translate("somebody/new", **params) == {"prompt": "a cube"}


@pytest.mark.parametrize(
    "tree",
    [
        {"data": [{"b64_json": "iVBO"}]},
        {"data": None, "images": [{"image_base64": "iVBO"}]},
        {"output": {"choices": [{"image_base64": "iVBO"}]}},
    ],
)
def test_images_are_found_in_each_of_three_places(tree: dict[str, Any]) -> None:
    assert parse_answer(**tree).images[0].b64 == "iVBO"


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (403, "You've run out of credits.", "insufficient_quota"),
        (403, "This model is not for you.", None),
        (400, "Body validation error", None),
        (429, "Too Many Requests", "rate_limit_exceeded"),
    ],
)
def test_no_credits_are_told_from_other_things_that_are_forbidden(
    status: int, message: str, said: str | None
) -> None:
    assert parse_error(status, message).code == said


def test_a_list_of_complaints_is_passed_on_whole() -> None:
    assert parse_error(400, ["too wide", 7, "too tall"]).message.endswith("too wide; too tall")


def test_a_refusal_is_known_by_words() -> None:
    assert isinstance(parse_error(400, "Blocked by moderation"), Refusal)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [("low", "low"), ("standard", "medium"), ("hd", "high"), ("xhigh", "high"), ("max", "high")],
)
def test_every_quality_has_the_nearest_that_there_is(asked: str, sent: str) -> None:
    assert translate("openai/gpt-image-2", quality=asked)["quality"] == sent
