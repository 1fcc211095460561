"""Sizes in other providers' words: within their bounds, and as near as those allow."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tools import sizes

SIDES = st.integers(10, 99_999)
RATIOS = ("21:9", "16:9", "3:2", "4:3", "1:1", "3:4", "2:3", "9:16", "9:21")
LISTED = ("1024x1024", "1344x768", "768x1344", "1536x640", "512x512")

CONVERTERS = {
    "ratio": sizes.ratio(RATIOS),
    "reduced_ratio": sizes.reduced_ratio(),
    "pixels": sizes.pixels(low=256, high=1440, step=32),
    "listed": sizes.nearest_size(LISTED),
    "listed_pixels": sizes.nearest_sides(LISTED),
}


def quotient(words: str) -> float:
    width, height = map(int, words.split(":"))
    return width / height


@pytest.mark.parametrize("name", CONVERTERS)
def test_auto_is_left_to_the_provider(name: str) -> None:
    assert CONVERTERS[name]("auto") == {}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        *(("256x256", "1:1"), ("1024x1024", "1:1"), ("1000x999", "1:1")),
        *(("1536x1024", "3:2"), ("1024x1536", "2:3")),
        *(("1792x1024", "16:9"), ("1024x1792", "9:16")),
        *(("99999x10", "21:9"), ("10x99999", "9:21")),
    ],
)
def test_a_ratio_is_the_nearest_that_is_offered(size: str, expected: str) -> None:
    assert sizes.ratio(RATIOS)(size) == {"aspect_ratio": expected}


@given(width=SIDES, height=SIDES)
def test_a_turned_size_gives_the_turned_ratio(width: int, height: int) -> None:
    straight = sizes.ratio(RATIOS)(f"{width}x{height}")["aspect_ratio"]
    turned = sizes.ratio(RATIOS)(f"{height}x{width}")["aspect_ratio"]
    assert quotient(straight) * quotient(turned) == pytest.approx(1)


def test_what_openai_calls_landscape_is_meant_as_16_to_9() -> None:
    assert sizes.reduced_ratio()("1792x1024") == {"aspect_ratio": "16:9"}
    assert sizes.reduced_ratio()("1024x1792") == {"aspect_ratio": "9:16"}
    assert sizes.reduced_ratio()("896x512") == {"aspect_ratio": "7:4"}


@given(width=SIDES, height=SIDES)
def test_a_reduced_ratio_stays_within_its_bounds(width: int, height: int) -> None:
    found = quotient(sizes.reduced_ratio()(f"{width}x{height}")["aspect_ratio"])
    assert 9 / 21 <= found <= 21 / 9
    if 9 / 21 <= width / height <= 21 / 9 and (width, height) not in sizes._INTENDED:
        assert found == width / height


@given(width=SIDES, height=SIDES, step=st.sampled_from((1, 8, 16, 32, 64)))
def test_pixels_stay_within_every_bound(width: int, height: int, step: int) -> None:
    convert = sizes.pixels(low=64, high=4096, step=step, max_pixels=4_000_000)
    made = convert(f"{width}x{height}")
    assert made["width"] * made["height"] <= 4_000_000
    for side in made.values():
        assert 64 <= side <= 4096
        assert side % step == 0


@given(width=st.integers(512, 4000), height=st.integers(512, 4000))
def test_pixels_keep_the_ratio(width: int, height: int) -> None:
    made = sizes.pixels(low=256, high=1440, step=8)(f"{width}x{height}")
    if 0.5 <= width / height <= 2:
        assert log(made["width"] / made["height"]) == pytest.approx(log(width / height), abs=0.03)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("1024x1024", (1024, 1024)),
        ("1792x1024", (1440, 832)),
        ("128x128", (256, 256)),
        ("100x200", (256, 512)),
        ("3840x2160", (1440, 800)),
    ],
)
def test_pixels_come_as_near_as_they_can(size: str, expected: tuple[int, int]) -> None:
    made = sizes.pixels(low=256, high=1440, step=32)(size)
    assert (made["width"], made["height"]) == expected


@given(width=SIDES, height=SIDES, step=st.sampled_from([1, 16]))
def test_pixels_are_never_wider_than_allowed(width: int, height: int, step: int) -> None:
    least, most = 655_360, 20_000_000
    convert = sizes.pixels(
        low=480, high=7728, step=step, min_pixels=least, max_pixels=most, max_ratio=3
    )
    made = convert(f"{width}x{height}")
    assert max(made.values()) <= 3 * min(made.values())
    assert least <= made["width"] * made["height"] <= most


def test_pixels_can_have_other_names() -> None:
    convert = sizes.pixels(low=1, high=9999, width="img_width", height="img_height")
    assert convert("640x480") == {"img_width": 640, "img_height": 480}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        *(("1024x1024", "1024x1024"), ("600x600", "512x512"), ("2000x2000", "1024x1024")),
        *(("1792x1024", "1344x768"), ("1024x1792", "768x1344"), ("3000x1000", "1536x640")),
    ],
)
def test_a_listed_size_goes_by_ratio_then_by_area(size: str, expected: str) -> None:
    assert sizes.nearest_size(LISTED)(size) == {"size": expected}


def test_a_listed_size_can_be_spelled_otherwise() -> None:
    convert = sizes.nearest_size(LISTED, field="resolution", separator="*")
    assert convert("1792x1024") == {"resolution": "1344*768"}


def test_a_listed_size_can_be_given_as_sides() -> None:
    assert sizes.nearest_sides(LISTED)("1024x1792") == {"width": 768, "height": 1344}


@pytest.mark.parametrize("name", CONVERTERS)
@given(width=SIDES, height=SIDES)
def test_every_size_of_the_contract_has_a_counterpart(name: str, width: int, height: int) -> None:
    assert CONVERTERS[name](f"{width}x{height}")
