"""SiliconFlow: lists of sizes, a batch from one model alone, errors in three forms."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, ImageCall
from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.siliconflow import ADAPTER

KOLORS, QWEN, EDIT = "Kwai-Kolors/Kolors", "Qwen/Qwen-Image", "Qwen/Qwen-Image-Edit-2509"
FLUX = "black-forest-labs/FLUX.1-schnell"


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def parse_answer(**tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(200, {}, orjson.dumps(tree)))


def parse_error(status: int, tree: Any) -> ProviderError:
    return ADAPTER.provider_error(ProviderReply(status, {}, orjson.dumps(tree)))


@pytest.mark.parametrize(
    ("model", "size", "sent"),
    [
        (KOLORS, "1024x1024", "1024x1024"),
        (KOLORS, "1024x1536", "960x1280"),
        (QWEN, "1024x1024", "1328x1328"),
        (QWEN, "1792x1024", "1664x928"),
        (FLUX, "1536x1024", "1536x1024"),
    ],
)
def test_a_size_is_the_nearest_of_the_models_own(model: str, size: str, sent: str) -> None:
    assert translate(model, size=size)["image_size"] == sent


@pytest.mark.parametrize("model", [KOLORS, QWEN, FLUX])
def test_a_size_is_always_sent_but_to_who_edits(model: str) -> None:
    assert "image_size" in translate(model)
    assert translate(model, image_size="640x480")["image_size"] == "640x480"
    assert translate(EDIT, size="1024x1024") == {}


def test_only_kolors_draws_a_batch() -> None:
    assert ADAPTER.table_for(KOLORS).images_per_call == 4
    assert translate(KOLORS)["batch_size"] == 1
    assert {ADAPTER.table_for(model).images_per_call for model in (QWEN, EDIT, FLUX)} == {1}


def test_images_stand_in_one_of_two_lists() -> None:
    one, two = ({"url": f"https://a.test/{name}.png"} for name in "ab")
    assert [it.url for it in parse_answer(images=[one], data=[two]).images] == [one["url"]]
    assert [it.url for it in parse_answer(images=[], data=[two]).images] == [two["url"]]


@pytest.mark.parametrize(
    ("status", "tree"), [(401, "no"), (400, {"code": 20012, "message": "no"}), (500, {"data": 1})]
)
def test_an_error_is_an_error_in_each_of_its_forms(status: int, tree: Any) -> None:
    error = parse_error(status, tree)
    assert not isinstance(error, Refusal)
    assert error.message.endswith("no" if status < 500 else "(status 500)")


def test_an_unknown_model_is_known_by_the_words_of_a_400() -> None:
    error = parse_error(
        400, {"code": 20012, "message": "Model does not exist. Check it.", "data": None}
    )
    assert (error.status, error.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("status", "tree"), [(451, None), (400, {"message": "Prompt is SENSITIVE"})]
)
def test_a_refusal_is_known_by_status_or_words(status: int, tree: Any) -> None:
    assert isinstance(parse_error(status, tree), Refusal)
