"""BytePlus ModelArk: areas by model, marks, groups of which some fail, refusals by code."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Answer, ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.byteplus import ADAPTER

PRO, LITE = "dola-seedream-5-0-pro-260628", "seedream-5-0-lite-260128"
V4_5, V4_0, ENDPOINT = "seedream-4-5-251128", "seedream-4-0-250828", "ep-20261122-abcde"
AREAS = {
    PRO: (921_600, 4_624_220),
    LITE: (3_686_400, 16_777_216),
    V4_5: (3_686_400, 16_777_216),
    V4_0: (921_600, 16_777_216),
    ENDPOINT: (3_686_400, 4_624_220),
}
FAILED = {"type": "image_generation.partial_failed", "error": {"code": "InternalServiceError"}}


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def parse_error(code: str, status: int = 400) -> ProviderError:
    body = orjson.dumps({"error": {"code": code, "message": "no", "param": ""}})
    return ADAPTER.provider_error(ProviderReply(status, {}, body))


def parse_answer(*entries: Any) -> Answer:
    reply = ProviderReply(200, {}, orjson.dumps({"data": entries}))
    return ADAPTER.parse_answer(ImageCall({}, {}), reply)


def event(data: Any, **fields: Any) -> Answer:
    return ADAPTER.parse_event(ImageCall({}, fields), data)


@pytest.mark.parametrize(("model", "most"), [(PRO, 10), (LITE, 14), (V4_5, 14), (ENDPOINT, 14)])
def test_each_model_works_from_so_many_images(model: str, most: int) -> None:
    assert len(translate(model, images=["https://a.test/1"] * most)["image"]) == most
    with pytest.raises(BadParam):
        translate(model, images=["https://a.test/1"] * (most + 1))


@pytest.mark.parametrize("model", AREAS)
@given(width=st.integers(10, 99_999), height=st.integers(10, 99_999))
def test_a_size_is_within_the_area_and_ratio_of_the_model(
    model: str, width: int, height: int
) -> None:
    size = translate(model, size=f"{width}x{height}")["size"]
    w, h = map(int, size.split("x"))
    least, most = AREAS[model]
    assert least <= w * h <= most
    assert max(w, h) <= 16 * min(w, h)


@pytest.mark.parametrize(
    ("model", "size"), [(PRO, "1024x1024"), (V4_0, "4096x4096"), (LITE, "2560x1440")]
)
def test_a_size_within_the_bounds_goes_as_it_is(model: str, size: str) -> None:
    assert translate(model, size=size)["size"] == size


@pytest.mark.parametrize("maker", ["", "dola-", "doubao-"])
def test_a_model_is_known_under_each_makers_name(maker: str) -> None:
    assert ADAPTER.table_for(f"{maker}seedream-5-0-flash-260915").row("stream") is None
    assert ADAPTER.table_for(f"{maker}seedream-5-0-lite-260128").row("stream")


def test_a_tier_takes_the_place_of_a_size() -> None:
    assert translate(LITE, resolution="3K")["size"] == "3K"


def test_no_mark_is_put_on_a_image_unless_asked_for() -> None:
    assert translate(V4_5)["watermark"] is False
    assert translate(V4_5, watermark=True)["watermark"] is True


@pytest.mark.parametrize("model", [V4_5, V4_0, ENDPOINT])
def test_a_format_is_not_sent_to_who_refuses_it(model: str) -> None:
    assert "output_format" not in translate(model, output_format="png")


def test_one_image_to_work_from_or_several_share_a_field() -> None:
    assert translate(V4_5, image="https://a.test/1.png")["image"] == "https://a.test/1.png"
    assert translate(V4_5, images=["https://a.test/1.png"])["image"] == ["https://a.test/1.png"]


@pytest.mark.parametrize(
    "code",
    [
        "InputTextSensitiveContentDetected",
        "OutputImageSensitiveContentDetected.PolicyViolation",
        "SensitiveContentDetected.SevereViolation",
        "InputImageRiskDetection",
        "PolicyViolation",
    ],
)
def test_a_refusal_is_known_by_a_word_in_its_code(code: str) -> None:
    assert isinstance(parse_error(code), Refusal)


@pytest.mark.parametrize(
    ("code", "wire", "status"),
    [
        ("InvalidEndpoint.ClosedEndpoint", 400, 404),
        ("InvalidEndpointOrModel.NotFound", 404, 404),
        ("QuotaExceeded", 403, 429),
        ("RateLimitExceeded.EndpointRPMExceeded", 429, 429),
        ("InvalidParameter.Size", 400, 400),
        ("InternalServiceError", 500, 502),
        ("SomethingNew", 403, 403),
    ],
)
def test_a_code_says_more_than_the_status(code: str, wire: int, status: int) -> None:
    assert parse_error(code, wire).status == status


def test_one_failed_image_does_not_fail_the_others() -> None:
    failing = {"error": {"code": "OutputImageSensitiveContentDetected"}}
    assert len(parse_answer(failing, {"url": "https://a.test/1.jpeg"}).images) == 1
    with pytest.raises(Refusal):
        parse_answer(failing, failing)
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer()


def test_a_failed_event_fails_the_stream_unless_it_is_a_groups() -> None:
    assert event(FAILED, sequential_image_generation="auto") == Answer(())
    with pytest.raises(ProviderError):
        event(FAILED)
