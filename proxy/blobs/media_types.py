"""The kinds of pictures that are kept: nothing else is ever served from the gateway's origin."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

SVG = "image/svg+xml"
EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    SVG: "svg",
}
"""Every media type that a blob can have, and how its name ends."""
MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}

HEAD_BYTES = 512
"""How much of a picture `media_type_of` wants to see."""

_MAGIC: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    # The root element, after what XML allows before it.
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<(?:\?|!)[^>]*>\s*)*<svg[\s>]"), SVG),
)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")


def media_type_of(head: bytes, declared: str = "") -> str:
    """Tell a picture's type by its first bytes; "" when it is none that may be kept.

    What it was `declared` to be counts only for SVG, whose root may lie behind a long comment.

    >>> media_type_of(bytes.fromhex("ffd8ffe0"), "image/png")
    'image/jpeg'
    >>> media_type_of(b"<html><svg>")
    ''
    """
    for magic, media_type in _MAGIC:
        if magic.match(head):
            return media_type
    return SVG if declared == SVG and _XML.match(head) else ""


async def with_head(chunks: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """Give the first bytes, `HEAD_BYTES` if there are as many, and all chunks, those included."""
    seen: list[bytes] = []
    held = 0
    async for chunk in chunks:
        seen.append(chunk)
        held += len(chunk)
        if held >= HEAD_BYTES:
            break

    async def everything() -> AsyncIterator[bytes]:
        while seen:
            yield seen.pop(0)
        async for chunk in chunks:
            yield chunk

    return b"".join(seen)[:HEAD_BYTES], everything()
