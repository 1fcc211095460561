"""What is kept as an image, and what never is."""

from __future__ import annotations

import pytest

from proxy.blobs.media_types import EXTENSIONS, HEAD_BYTES, SVG, allowed_media_type, read_head
from tests.support.blobs import IMAGES, in_chunks

NO_PICTURES = [
    b"",
    b"<html><svg></svg></html>",
    b"<!DOCTYPE html><html><svg>",
    b"<script>alert(1)</script>",
    b"<svgx>",
    b"RIFF\x00\x00\x00\x00WAVE",
    b"GIF88a",
    b"\x89PNG\r\n",
    b"%PDF-1.7",
    b'{"error": "<svg>"}',
]


@pytest.mark.parametrize(("media_type", "image"), IMAGES.items())
def test_an_image_is_known_by_its_bytes_whatever_it_is_declared_to_be(
    media_type: str, image: bytes
) -> None:
    assert {allowed_media_type(image[:HEAD_BYTES], said) for said in EXTENSIONS} == {media_type}


@pytest.mark.parametrize("head", NO_PICTURES)
def test_anything_else_is_no_image(head: bytes) -> None:
    assert {allowed_media_type(head, said) for said in ("", "image/png", "text/html")} == {""}


@pytest.mark.parametrize(
    "before", [b"", b"\xef\xbb\xbf", b" \n", b"<!-- by -->", b"<!DOCTYPE svg>"]
)
def test_an_svg_may_begin_as_xml_does(before: bytes) -> None:
    assert allowed_media_type(before + b'<svg width="1">') == SVG


def test_an_svg_behind_a_long_comment_is_one_where_it_is_declared() -> None:
    assert allowed_media_type(b"<!-- " + b"x" * HEAD_BYTES, SVG) == SVG
    assert not allowed_media_type(b"plain text", SVG)


@pytest.mark.parametrize("size", [1, 100, HEAD_BYTES, 5000])
async def test_looking_at_the_head_takes_nothing_away(size: int) -> None:
    image = bytes(range(256)) * 8
    head, chunks = await read_head(in_chunks(image, size))
    assert head == image[:HEAD_BYTES]
    assert b"".join([chunk async for chunk in chunks]) == image
