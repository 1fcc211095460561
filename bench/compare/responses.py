"""The responses of the mock provider: OpenAI-compatible JSON in several sizes, images by URL."""

from __future__ import annotations

import random
import struct
import zlib
from base64 import b64decode, b64encode
from functools import cache
from pathlib import Path

import orjson

SMALL, MEDIUM, LARGE, HUGE = "small", "medium", "large", "huge"
SIZES = {SMALL: 367, MEDIUM: 1_500_000, LARGE: 6_000_000, HUGE: 12_000_000}
"""Bytes of a response."""
BY_URL = "url-"
"""Prefix of a size: the same image, returned as a URL."""


def png(size: int) -> bytes:
    """Return `size` bytes with a PNG signature and header; the image data is random."""
    head = struct.pack(">IIBBBBB", 1024, 1024, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head)
    noise = random.Random(size).randbytes(max(size - len(start) - 24, 0))  # noqa: S311 - the same ones each time
    return start + _chunk(b"IDAT", noise) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def answer(size: int) -> bytes:
    """Return a response with an image, of exactly `size` bytes."""
    whole = {
        "created": 1_780_000_000,
        "data": [{"b64_json": ""}],
        "background": "opaque",
        "output_format": "png",
        "quality": "high",
        "size": "1024x1024",
        "usage": {"input_tokens": 13, "output_tokens": 4160, "total_tokens": 4173},
    }
    available = size - len(orjson.dumps(whole))
    whole["data"] = [{"b64_json": b64encode(png(available // 4 * 3)).decode()}]
    body = orjson.dumps(whole)
    return body[:-1] + b" " * (size - len(body)) + body[-1:]


def write(folder: Path, url: str) -> None:
    """Write the files served by a mock provider at `url`."""
    for name, size in SIZES.items():
        body = answer(size)
        (folder / f"{name}.json").write_bytes(body)
        image = png(size // 4 * 3)
        (folder / f"{name}.png").write_bytes(image)
        by_url = {"created": 1_780_000_000, "data": [{"url": f"{url}/images/{name}.png"}]}
        (folder / f"{BY_URL}{name}.json").write_bytes(orjson.dumps(by_url))


@cache
def image_of(name: str) -> bytes:
    """Return the image in the response of a size."""
    return b64decode(orjson.loads(answer(SIZES[name]))["data"][0]["b64_json"])
