"""Images measured by their first bytes, held against a library that decodes them."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from adapters.tools.image_header import (
    HEADER_BYTES,
    ImageHeader,
    detect_media_type,
    read_image_header,
)

SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'


def encode_image(kind: str, width: int, height: int, **options: Any) -> bytes:
    made = BytesIO()
    PillowImage.new("RGB", (width, height), "teal").save(made, kind, **options)
    return made.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *(("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {})),
        *(("WEBP", {}), ("WEBP", {"lossless": True}), ("WEBP", {"exif": b"Exif\0\0MM"})),
        ("JPEG", {"exif": b"Exif\0\0" + b"x" * 30_000}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (1792, 1024), (300, 4097)])
def test_a_image_is_as_large_as_it_says(
    kind: str, options: dict[str, Any], size: tuple[int, int]
) -> None:
    found = read_image_header(encode_image(kind, *size, **options)[:HEADER_BYTES])
    assert (found.width, found.height) == size
    assert found.format == kind.lower()
    assert found.size == f"{size[0]}x{size[1]}"


@pytest.mark.parametrize("head", [SVG, b"\xef\xbb\xbf <svg>", b"<!-- a -->\n<svg/>"])
def test_a_drawing_has_a_type_and_no_size(head: bytes) -> None:
    assert read_image_header(head) == ImageHeader("image/svg+xml")
    assert read_image_header(head).size == "?"


@pytest.mark.parametrize("head", [b"", b"<html><svg>", b"RIFF0000WAVE", b'{"error": 1}', b"\x89PN"])
def test_what_is_no_image_has_no_type(head: bytes) -> None:
    assert detect_media_type(head) == ""
    assert read_image_header(head) == ImageHeader("")


def test_a_thousand_comments_are_not_tried_in_every_way() -> None:
    assert detect_media_type(b"<!---->" * 1000) == ""


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.binary(max_size=40), st.integers(0, 60))
def test_damaged_bytes_are_measured_without_a_stumble(kind: str, noise: bytes, at: int) -> None:
    whole = encode_image(kind, 20, 10)
    found = read_image_header(whole[:at] + noise + whole[at + len(noise) :][:200])
    assert found.width >= 0
    assert found.height >= 0
