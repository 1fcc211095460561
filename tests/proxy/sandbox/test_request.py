"""Reading the body of a call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.errors import BadParam, ImageError
from proxy.sandbox.request import _DEFAULTS, SandboxRequest, parse_request

_DOCS = Path(__file__).parents[3] / "docs" / "sandbox.md"
_PARAMETERS = _DOCS.read_text().partition("## Parameters\n")[2].partition("## ")[0]


def order(**params: Any) -> SandboxRequest:
    return parse_request(orjson.dumps({"prompt": "fox", **params}))


def test_a_prompt_is_enough() -> None:
    made = order()
    assert (made.n, made.size, made.quality, made.output_format) == (
        1,
        "1024x1024",
        "medium",
        "png",
    )
    assert (made.background, made.stream) == ("opaque", False)


def test_a_null_is_as_good_as_nothing() -> None:
    assert order(n=None, size=None, stream=None, latency_ms=None) == order()


def test_unknown_parameters_are_ignored() -> None:
    assert order(seed=7, nested={"a": [1]}) == order()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("prompt", value) for value in ("", 5, ["fox"], "x" * 32_001)],
        *[("n", value) for value in (0, 11, -1, "2", 1.5, True)],
        *[("size", value) for value in ("huge", "15x64", "64x3841", "3840x2161", 512, "x", "1024")],
        *[("quality", value) for value in ("best", 1)],
        *[("response_format", value) for value in ("png", True)],
        *[("background", value) for value in ("clear", False)],
        *[("output_format", value) for value in ("gif", "svg", "bmp", 1)],
        *[("output_compression", value) for value in (-1, 101, "90", 50.5)],
        *[("stream", value) for value in ("true", 1)],
        *[("partial_images", value) for value in (-1, 4, 1, "1")],
        *[("moderation", value) for value in ("high", 0)],
        *[("style", value) for value in ("baroque", 0)],
        ("model", 5),
        ("user", 5),
        *[("latency_ms", value) for value in (-1, 600_001, "5", 1.5)],
        *[("status", value) for value in (200, 399, 600, "500")],
        *[("refuse", value) for value in ("yes", 1)],
        *[("cut_after", value) for value in (-1, "5", 2**63 + 0.5)],
    ],
)
def test_what_is_wrong_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(BadParam) as caught:
        order(**{name: value})
    assert (caught.value.status, caught.value.param) == (400, name)
    assert f"'{name}'" in caught.value.message


@pytest.mark.parametrize(
    "params",
    [
        {"size": "16x16"},
        {"size": "3840x2160"},
        {"size": "2160x3840"},
        {"n": 10},
        {"prompt": "x" * 32_000},
        {"output_compression": 0, "output_format": "webp"},
        {"stream": True, "partial_images": 3},
        {"partial_images": 0},
        {"background": "transparent", "output_format": "webp"},
        {"quality": "hd", "style": "natural", "moderation": "low", "user": "u1"},
        {"latency_ms": 600_000, "status": 599, "refuse": False, "cut_after": 0},
    ],
    ids=str,
)
def test_what_is_at_the_bound_is_taken(params: dict[str, Any]) -> None:
    order(**params)


def test_a_prompt_is_required() -> None:
    with pytest.raises(BadParam) as caught:
        parse_request(b"{}")
    assert (caught.value.param, caught.value.code) == ("prompt", "missing_required_parameter")


@pytest.mark.parametrize("body", [b"", b"fox", b"[]", b'"fox"', b"null", b"{" * 5000, b'"\\ud800"'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        parse_request(body)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_a_jpeg_cannot_be_transparent() -> None:
    with pytest.raises(BadParam) as caught:
        order(background="transparent", output_format="jpeg")
    assert caught.value.param == "background"


@pytest.mark.parametrize(
    "delivery",
    [
        {"n": 3},
        {"stream": True, "partial_images": 2},
        {"output_format": "jpeg", "output_compression": 50},
        {"latency_ms": 10, "cut_after": 100},
        {"size": "1024x1024", "quality": "medium", "background": "opaque", "style": "vivid"},
    ],
    ids=str,
)
def test_how_it_is_delivered_does_not_change_the_picture(delivery: dict[str, Any]) -> None:
    assert order(**delivery).digest == order().digest


@pytest.mark.parametrize(
    "seen",
    [
        {"prompt": "box"},
        {"model": "sandbox-1"},
        {"size": "512x512"},
        {"quality": "high"},
        {"style": "natural"},
        {"background": "transparent"},
    ],
    ids=str,
)
def test_whatever_is_to_be_seen_changes_the_picture(seen: dict[str, Any]) -> None:
    assert order(**seen).digest != order().digest


def test_the_documentation_lists_every_parameter_it_heeds() -> None:
    listed = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\|.+?\|", _PARAMETERS, re.MULTILINE)))
    )
    assert listed == {"prompt", "user", "moderation", *_DEFAULTS}
