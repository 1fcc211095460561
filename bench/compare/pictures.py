"""The answers of the mock provider: one in OpenAI's shape for each size, and pictures by URL."""

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
"""Bytes of an answer."""
BY_URL = "url-"
"""Before a size: the same picture, as a URL."""


def png(size: int) -> bytes:
    """Give a PNG of so many bytes, by its first bytes: nobody decodes it."""
    head = struct.pack(">IIBBBBB", 1024, 1024, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head)
    noise = random.Random(size).randbytes(max(size - len(start) - 24, 0))  # noqa: S311 - the same ones each time
    return start + _chunk(b"IDAT", noise) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def answer(size: int) -> bytes:
    """Give an answer with a picture, of exactly so many bytes."""
    whole = {
        "created": 1_780_000_000,
        "data": [{"b64_json": ""}],
        "background": "opaque",
        "output_format": "png",
        "quality": "high",
        "size": "1024x1024",
        "usage": {"input_tokens": 13, "output_tokens": 4160, "total_tokens": 4173},
    }
    room = size - len(orjson.dumps(whole))
    whole["data"] = [{"b64_json": b64encode(png(room // 4 * 3)).decode()}]
    body = orjson.dumps(whole)
    return body[:-1] + b" " * (size - len(body)) + body[-1:]


def write(folder: Path, url: str) -> None:
    """Write what a mock serves that is reached at `url`."""
    for name, size in SIZES.items():
        body = answer(size)
        (folder / f"{name}.json").write_bytes(body)
        picture = png(size // 4 * 3)
        (folder / f"{name}.png").write_bytes(picture)
        by_url = {"created": 1_780_000_000, "data": [{"url": f"{url}/pictures/{name}.png"}]}
        (folder / f"{BY_URL}{name}.json").write_bytes(orjson.dumps(by_url))


@cache
def held(name: str) -> bytes:
    """Give the picture in the answer of a size."""
    return b64decode(orjson.loads(answer(SIZES[name]))["data"][0]["b64_json"])
