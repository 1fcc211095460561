"""Allowed media types: nothing but images is ever served from the gateway's origin."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from adapters.tools.image_header import detect_media_type

SVG = "image/svg+xml"
EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    SVG: "svg",
}
"""File extension of every media type that a blob can have."""
MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}

HEAD_BYTES = 512
"""Bytes of an image that `allowed_media_type` needs."""

_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")


def allowed_media_type(head: bytes, declared: str = "") -> str:
    """Return the media type that the first bytes of an image show; "" if it may not be stored.

    The `declared` type counts only for SVG, whose root element may follow a long comment.

    >>> allowed_media_type(bytes.fromhex("ffd8ffe0"), "image/png")
    'image/jpeg'
    >>> allowed_media_type(b"<html><svg>")
    ''
    """
    return detect_media_type(head) or (SVG if declared == SVG and _XML.match(head) else "")


async def read_head(chunks: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """Return the first `HEAD_BYTES` bytes (fewer if it is short), and all chunks with these."""
    seen: list[bytes] = []
    size = 0
    async for chunk in chunks:
        seen.append(chunk)
        size += len(chunk)
        if size >= HEAD_BYTES:
            break

    async def all_chunks() -> AsyncIterator[bytes]:
        while seen:
            yield seen.pop(0)
        async for chunk in chunks:
            yield chunk

    return b"".join(seen)[:HEAD_BYTES], all_chunks()
