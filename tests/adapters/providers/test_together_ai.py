"""Together AI: sizes by family, base64 under another name, refusals known by their words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.together_ai import ADAPTER

MAKER = "black-forest-labs/"


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(MAKER + model).translate(params).fields


def parse_error(status: int, message: str) -> ProviderError:
    body = orjson.dumps({"id": "x", "error": {"message": message, "type": "t"}})
    return ADAPTER.provider_error(ProviderReply(status, {}, body))


@pytest.mark.parametrize("model", ["FLUX.1-schnell", "FLUX.1-schnell-Free", "FLUX.1-kontext-max"])
def test_some_families_go_by_ratio(model: str) -> None:
    assert translate(model, size="1536x1024") == {"aspect_ratio": "3:2"}


@pytest.mark.parametrize("model", ["FLUX.1-dev", "FLUX.1.1-pro", "FLUX.2-dev", "FLUX.9-new"])
def test_all_others_go_by_pixels_in_steps_of_eight(model: str) -> None:
    assert translate(model, size="1000x500") == {"width": 1000, "height": 496}


@pytest.mark.parametrize("model", ["FLUX.1-schnell", "FLUX.2-pro"])
def test_an_open_size_is_left_to_the_provider(model: str) -> None:
    assert translate(model, size="auto") == {}


def test_base64_is_asked_for_by_its_name_here() -> None:
    asked = [translate("FLUX.2-pro", response_format=it) for it in ("url", "b64_json")]
    assert asked == [{"response_format": "url"}, {"response_format": "base64"}]


def test_the_free_model_makes_few_steps() -> None:
    assert translate("FLUX.1-schnell", steps=5) == {"steps": 5}
    with pytest.raises(BadParam):
        translate("FLUX.1-schnell-Free", steps=5)


def test_a_image_to_work_from_has_a_name_by_family() -> None:
    images = {"image_url": "https://a.test/b.png", "reference_images": ["https://a.test/b.png"]}
    assert translate("FLUX.1-kontext-pro", **images).keys() == {"image_url"}
    assert translate("FLUX.2-pro", **images).keys() == {"reference_images"}


@pytest.mark.parametrize("said", ["Prompt contains NSFW content", "against our content policy"])
def test_a_refusal_is_known_by_its_words(said: str) -> None:
    assert isinstance(parse_error(422, said), Refusal)


def test_a_complaint_about_the_safety_checker_is_no_refusal() -> None:
    error = parse_error(400, "disable_safety_checker is not available for this model")
    assert (error.status, type(error)) == (400, ProviderError)
