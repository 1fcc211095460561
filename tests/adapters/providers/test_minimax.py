"""MiniMax: two families told apart by name, failures in `base_resp`, areas of H3, its events."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Answer, ImageCall
from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.minimax import ADAPTER

H3, OLD, LIVE = "MiniMax-H3-Image", "image-01", "image-01-live"


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def requested(model: str, **params: Any) -> ProviderRequest:
    return ADAPTER.build_request(ImageCall({"model": model, **params}, translate(model, **params)))


def parse_answer(status: int = 200, model: str = OLD, **tree: Any) -> Answer:
    reply = ProviderReply(status, {}, orjson.dumps(tree))
    return ADAPTER.parse_answer(ImageCall({"model": model}, {}), ADAPTER.raise_for_status(reply))


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (OLD, "/image_generation"),
        (LIVE, "/image_generation"),
        (H3, "/images/generations"),
        ("MiniMax-H4-Image", "/images/generations"),
    ],
)
def test_a_models_name_says_which_endpoint_it_has(model: str, path: str) -> None:
    assert requested(model, prompt="a cube").path == path


def test_base64_has_another_name_in_the_older_family_only() -> None:
    assert translate(OLD, response_format="b64_json") == {"response_format": "base64"}
    assert translate(H3, response_format="b64_json")["response_format"] == "b64_json"


@pytest.mark.parametrize(
    ("size", "width", "height"),
    [("1032x1024", 1032, 1024), ("256x256", 512, 512), ("1000x999", 1000, 1000)],
)
def test_sides_of_image_01_are_within_bounds(size: str, width: int, height: int) -> None:
    assert translate(OLD, size=size) == {"width": width, "height": height}


@pytest.mark.parametrize(
    ("size", "ratio"),
    [("1024x1024", "1:1"), ("1792x1024", "16:9"), ("720x1280", "9:16"), ("1344x576", "21:9")],
)
def test_image_01_gets_the_ratio_of_a_listed_size(size: str, ratio: str) -> None:
    assert translate(OLD, size=size) == {"aspect_ratio": ratio}


def test_openais_style_never_reaches_the_styles_of_live() -> None:
    assert translate(LIVE, style="vivid") == {}


@given(width=st.integers(10, 99_999), height=st.integers(10, 99_999))
def test_a_size_of_h3_is_within_its_area_and_ratio(width: int, height: int) -> None:
    w, h = map(int, translate(H3, size=f"{width}x{height}")["size"].split("x"))
    assert 655_360 <= w * h <= 20_000_000
    assert max(w, h) <= 3 * min(w, h)


def test_h3_is_never_left_to_draw_4k_unasked() -> None:
    assert translate(H3) == translate(H3, size="auto") == {"size": "1024x1024"}
    assert translate(H3, area="4K") == {"area": "4K"}
    assert translate(H3, aspect_ratio="3:2") == {"aspect_ratio": "3:2"}
    assert requested(H3, aspect_ratio="3:2").json["area"] == "1K"
    assert requested(H3, aspect_ratio="3:2", area="2K").json["area"] == "2K"
    assert "area" not in requested(H3, aspect_ratio="3:2", size="2048x2048").json
    assert "area" not in requested(OLD, aspect_ratio="3:2").json


def test_events_are_asked_for_with_urls() -> None:
    request = requested(H3, prompt="a cube", stream=True, response_format="b64_json")
    assert request.may_stream
    assert request.json["response_format"] == "url"
    assert not requested(OLD, prompt="a cube", stream=True).may_stream


def test_an_error_event_names_its_status() -> None:
    failed = {"type": "error", "error": {"http_code": 429, "message": "no"}, "request_id": "1"}
    with pytest.raises(ProviderError) as caught:
        ADAPTER.parse_event(ImageCall({"model": H3}, {}), failed)
    assert caught.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("code", "status"),
    [(1002, 429), (1004, 401), (1008, 429), (1001, 504), (1024, 502), (2013, 400), (2061, 403)],
)
@pytest.mark.parametrize("wire", [200, 500])
def test_a_code_says_more_than_the_status(wire: int, code: int, status: int) -> None:
    with pytest.raises(ProviderError, match="no") as caught:
        parse_answer(wire, base_resp={"status_code": code, "status_msg": "no"})
    assert (caught.value.status, caught.value.provider_status) == (status, wire)


@pytest.mark.parametrize("count", ["2", 2])
def test_images_held_back_are_a_refusal_only_where_none_came(count: Any) -> None:
    metadata = {"success_count": "0", "failed_count": count}
    with pytest.raises(Refusal):
        parse_answer(data=None, metadata=metadata)
    assert parse_answer(data={"image_base64": ["iVBO"]}, metadata=metadata).images[0].b64 == "iVBO"


@pytest.mark.parametrize("count", ["0", 0, None, "many", True, {}])
def test_no_image_and_nothing_held_back_is_no_refusal(count: Any) -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer(data={"image_urls": [7, ""]}, metadata={"failed_count": count})
