"""getimg.ai: pipelines and their models, sizes by pipeline, both forms of a image."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, ImageCall
from adapters.errors import BadParam, ProviderError
from adapters.http import ProviderReply
from adapters.providers.getimg import ADAPTER


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def parse_answer(**tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(body=orjson.dumps(tree)))


@pytest.mark.parametrize(
    ("model", "path", "body"),
    [
        ("flux-schnell", "/flux-schnell/text-to-image", {}),
        ("stable-diffusion/some-model", "/stable-diffusion/text-to-image", {"model": "some-model"}),
        ("seedream-v4", "/seedream-v4/text-to-image", {}),
    ],
)
def test_a_pipeline_is_in_the_path_and_its_model_in_the_body(
    model: str, path: str, body: dict[str, str]
) -> None:
    request = ADAPTER.build_request(ImageCall({"model": model}, {}))
    assert (request.path, request.json) == (path, body)


@pytest.mark.parametrize("model", ["", "/x", "..", "../x", "a?b", "a#b/c"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        ADAPTER.build_request(ImageCall({"model": model}, {}))


@pytest.mark.parametrize(
    ("model", "size", "sent"),
    [
        ("flux-schnell", "1792x1024", {"width": 1280, "height": 736}),
        ("stable-diffusion-xl", "1792x1024", {"width": 1536, "height": 896}),
        ("stable-diffusion", "1000x1000", {"width": 1024, "height": 1024}),
        ("latent-consistency", "100x100", {"width": 256, "height": 256}),
        ("essential-v2", "1024x1792", {"aspect_ratio": "4:7"}),
        ("essential-v2", "auto", {}),
    ],
)
def test_a_size_is_what_the_pipeline_can_do(model: str, size: str, sent: dict[str, Any]) -> None:
    assert translate(model, size=size) == sent


def test_openais_style_is_not_getimgs() -> None:
    assert translate("essential-v2", style="vivid") == {}
    assert translate("essential-v2", style_preset="anime") == {"style": "anime"}


def test_the_form_of_the_image_is_asked_for_in_getimgs_words() -> None:
    assert translate("flux-schnell", response_format="b64_json") == {"response_format": "b64"}
    assert parse_answer(image="aGk=", seed=0).images[0].extra == {"seed": 0}
    assert parse_answer(url="https://a.test/1").images[0].url == "https://a.test/1"


def test_no_image_is_an_error() -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer(cost=0.1)
