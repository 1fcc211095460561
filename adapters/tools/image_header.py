"""Media type, width and height of an image, from its first bytes.

Nothing is decoded. Sources: the PNG, JPEG (ITU-T T.81), WebP (RFC 9649) and GIF89a formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADER_BYTES = 64 * 1024
"""Number of leading bytes that contain the size, except in JPEGs with very large metadata."""

_MAGIC: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
)
KNOWN_MEDIA_TYPES = frozenset(media_type for _, media_type in _MAGIC)
"""Media types that are detected by their first bytes, whatever the content type says."""
# Atomic groups prevent catastrophic backtracking on untrusted bytes.
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+(?>(?:<\?xml.{0,200}?\?>\s*+)?)(?>(?:<!--.{0,400}?-->\s*+)*)"
    rb"(?>(?:<!DOCTYPE.{0,300}?>\s*+)?)<svg[\s>/]",
    re.DOTALL,
)
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG markers of a frame header, which contains the size."""
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG markers without a length field."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """An image's media type and its size in pixels, 0 if unknown."""

    media_type: str
    width: int = 0
    height: int = 0

    @property
    def format(self) -> str:
        """The media type's short name, as in OpenAI's `output_format`.

        >>> ImageHeader("image/svg+xml").format
        'svg'
        """
        return self.media_type.removeprefix("image/").removesuffix("+xml")

    @property
    def size(self) -> str:
        """The size as `WxH`, "?" if unknown."""
        return f"{self.width}x{self.height}" if self.width and self.height else "?"


def detect_media_type(head: bytes) -> str:
    """Return an image's media type by its first bytes, "" if unknown.

    >>> detect_media_type(bytes.fromhex("ffd8ffe0"))
    'image/jpeg'
    """
    for magic, media_type in _MAGIC:
        if magic.match(head):
            return media_type
    start = head[:4096]
    return "image/svg+xml" if b"<svg" in start and _SVG.match(start) else ""


def read_image_header(head: bytes) -> ImageHeader:
    """Return media type and size from an image's first bytes, at best `HEADER_BYTES` of them."""
    media_type = detect_media_type(head)
    reader = _READERS.get(media_type)
    return ImageHeader(media_type, *(reader(head) if reader else (0, 0)))


def _png(head: bytes) -> tuple[int, int]:
    if head[12:16] != b"IHDR" or len(head) < 24:  # noqa: PLR2004 - the end of the size
        return 0, 0
    return _big(head[16:20]), _big(head[20:24])


def _gif(head: bytes) -> tuple[int, int]:
    return _little(head[6:8]), _little(head[8:10])


def _webp(head: bytes) -> tuple[int, int]:
    match head[12:16]:
        case b"VP8X":
            return _little(head[24:27]) + 1, _little(head[27:30]) + 1
        case b"VP8L":
            bits = _little(head[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
    return 0, 0


def _jpeg(head: bytes) -> tuple[int, int]:
    offset = 2
    while offset + 9 <= len(head) and head[offset] == 0xFF:  # noqa: PLR2004 - starts a marker
        marker = head[offset + 1]
        if marker in _FRAME_MARKERS:
            return _big(head[offset + 7 : offset + 9]), _big(head[offset + 5 : offset + 7])
        if marker == 0xFF:  # noqa: PLR2004 - fill byte before a marker
            offset += 1
        elif marker in _BARE_MARKERS:
            offset += 2
        else:
            offset += 2 + _big(head[offset + 2 : offset + 4])
    return 0, 0


_READERS = {"image/png": _png, "image/jpeg": _jpeg, "image/webp": _webp, "image/gif": _gif}


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
