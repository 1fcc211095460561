"""Ideogram: a path for each generation, ratios in three spellings, images that are not safe."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.http import ProviderRequest as Request
from adapters.providers.ideogram import ADAPTER
from adapters.table.receipt import Receipt
from tests.support.transcripts import translated


def requested(model: str, **params: Any) -> Request:
    return ADAPTER.build_request(called(model, **params)[0])


def called(model: str, **params: Any) -> tuple[ImageCall, Receipt]:
    params = {"model": model, "prompt": "a cube", **params}
    return translated(ADAPTER, params, Credentials("k"))


def formed(model: str = "ideogram-v3", **params: Any) -> dict[str, str]:
    form = dict(requested(model, **params).form or {})
    del form["prompt"]
    return form


def parse_answer(*entries: Any) -> Answer:
    body = orjson.dumps({"created": "2026-11-22T12:00:00Z", "data": entries})
    return ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(200, {}, body))


def test_the_key_is_no_bearer() -> None:
    outgoing = SignableRequest("POST", "https://api.ideogram.ai/generate", {}, b"", 0)
    assert ADAPTER.sign(outgoing, Credentials("a-key")) == {"api-key": "a-key"}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("V_3", "/v1/ideogram-v3/generate"),
        ("ideogram-v3-turbo", "/v1/ideogram-v3/generate"),
        ("V_4", "/v1/ideogram-v4/generate"),
        ("ideogram-v4", "/v1/ideogram-v4/generate"),
        ("ideogram-v45", "/v1/ideogram-v45/generate"),
        ("never-heard-of-it", "/v1/never-heard-of-it/generate"),
        ("V_1", "/generate"),
        ("V_2A_TURBO", "/generate"),
    ],
)
def test_a_generation_of_models_has_a_path(model: str, path: str) -> None:
    assert requested(model).path == path


@pytest.mark.parametrize("model", ["", "../v1/x", "a?b"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        requested(model)


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ("1344x768", {"resolution": "1344x768"}),
        ("512x512", {"aspect_ratio": "1x1"}),
        ("1792x1024", {"aspect_ratio": "16x9"}),
        ("1024x1536", {"aspect_ratio": "2x3"}),
        ("auto", {}),
    ],
)
def test_a_size_is_a_listed_resolution_or_a_ratio(size: str, sent: dict[str, str]) -> None:
    assert formed(size=size) == sent


def test_a_ratio_beside_a_resolution_is_left_out() -> None:
    assert formed(size="1792x1024", resolution="1312x736") == {"resolution": "1312x736"}
    old = requested("V_2", size="1024x1024", resolution="RESOLUTION_1024_1024").json
    assert "aspect_ratio" not in old["image_request"]


def test_the_receipt_says_which_of_a_ratio_and_a_resolution_was_left_out() -> None:
    asked = {"size": "1792x1024", "resolution": "1312x736", "aspect_ratio": "1x1"}
    said = str(called("ideogram-v3", **asked)[1])
    assert "dropped size=1792x1024" in said
    assert "dropped aspect_ratio=1x1" in said


def test_the_receipt_says_ratio_where_a_transparent_background_takes_no_pixels() -> None:
    said = str(called("ideogram-v3", size="1248x832", background="transparent")[1])
    assert "converted size=1248x832>aspect_ratio=3x2" in said


def test_a_transparent_background_leads_to_its_own_path() -> None:
    request = requested("ideogram-v3", background="transparent", size="1248x832")
    assert request.path == "/v1/ideogram-v3/generate-transparent"
    assert request.form == {"prompt": "a cube", "aspect_ratio": "3x2"}
    call, said = called("ideogram-v3", background="transparent", style_type="REALISTIC")
    assert "style_type" not in (ADAPTER.build_request(call).form or {})
    assert "dropped style_type" in str(said)
    with pytest.raises(BadParam, match="rendering_speed"):
        called("ideogram-v3", background="transparent", rendering_speed="FLASH")
    assert requested("ideogram-v3", background="opaque").path == "/v1/ideogram-v3/generate"


@pytest.mark.parametrize(
    ("quality", "sent"),
    [
        ("low", {"rendering_speed": "TURBO"}),
        ("standard", {"rendering_speed": "DEFAULT"}),
        ("max", {"rendering_speed": "QUALITY"}),
        ("auto", {}),
    ],
)
def test_quality_is_what_the_speed_costs(quality: str, sent: dict[str, str]) -> None:
    assert formed(quality=quality) == sent


def test_a_form_holds_numbers_and_truths_as_json_writes_them() -> None:
    assert formed(seed=7)["seed"] == "7"
    form = requested("ideogram-v4", enable_copyright_detection=False).form
    assert form == {"text_prompt": "a cube", "enable_copyright_detection": "false"}


def test_images_that_are_safe_are_kept() -> None:
    answer = parse_answer({"url": "", "is_image_safe": False}, {"url": "https://p.test/1"})
    assert [image.url for image in answer.images] == ["https://p.test/1"]


def test_no_image_that_is_safe_is_a_refusal() -> None:
    with pytest.raises(Refusal):
        parse_answer({"url": "https://p.test/1", "is_image_safe": False})


def test_no_image_at_all_is_none() -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer()
