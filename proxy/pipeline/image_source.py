"""Pictures ready to be written: measured, and given piece by piece, as bytes or as base64.

A picture is never held twice: base64 text is cut into pieces, bytes are encoded by the piece, and
what lies behind a URL is encoded while it arrives.
"""

from __future__ import annotations

from binascii import Error as NotBase64
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

import msgspec
import pybase64

from adapters.contract import Image
from adapters.table.receipt import ReceiptLine
from adapters.tools.image_header import (
    HEADER_BYTES,
    KNOWN_MEDIA_TYPES,
    ImageHeader,
    read_image_header,
)
from proxy.cache.entry import CachedImage
from proxy.errors import UpstreamFailed
from proxy.routing.attempt import ResponseCapture
from proxy.routing.plan import Target
from proxy.upstream.client import ProviderClient
from proxy.upstream.image_download import Download
from proxy.upstream.temp_file import FileImage

_CHUNK = 96 * 1024
"""Bytes that are encoded in one go: a multiple of 3, and a millisecond at the most."""
_BASE64_CHUNK = _CHUNK // 3 * 4
_URL_SAFE_ALPHABET = str.maketrans("-_", "+/")
"""From the alphabet of RFC 4648, 5 to that of 4."""
_SHORT_HEADER = 64
"""Characters of base64 in which most pictures say their size."""


class ImageSource(msgspec.Struct, frozen=True):
    """One picture. `length` is its size in bytes, None where the other side did not tell."""

    image: Image
    measured: ImageHeader
    length: int | None
    download: Download | None = None

    __repr__ = object.__repr__

    @property
    def base64_length(self) -> int | None:
        """How many characters its base64 has."""
        if self.image.b64:
            return len(self.image.b64)
        return None if self.length is None else -(-self.length // 3) * 4

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """Give the picture as bytes."""
        if self.download:
            yield self.download.head
            async for piece in self.download.rest:
                yield piece
        for at in range(0, len(self.image.b64), _BASE64_CHUNK):
            yield decode_base64(self.image.b64[at : at + _BASE64_CHUNK])
        for part in _slices(self.image.data):
            yield bytes(part)

    async def iter_base64(self) -> AsyncIterator[bytes]:
        """Give the picture as base64."""
        for at in range(0, len(self.image.b64), _BASE64_CHUNK):
            yield self.image.b64[at : at + _BASE64_CHUNK].encode("ascii")
        if self.image.b64:
            return
        left = b""
        async for piece in self.iter_bytes():
            whole = left + piece
            even = len(whole) // 3 * 3
            for part in _slices(memoryview(whole)[:even]):
                yield pybase64.b64encode(part)
            left = whole[even:]
        yield pybase64.b64encode(left)


async def open_image(
    upstream: ProviderClient,
    target: Target,
    image: Image,
    stack: AsyncExitStack,
    recording: ResponseCapture | None = None,
) -> ImageSource:
    """Make a picture ready, which may be behind a URL: `stack` keeps its connection.

    `recording` may watch it pass.
    """
    if isinstance(image, CachedImage):
        return ImageSource(
            image, image.measured, image.length, _as_download(image.read(), image.measured)
        )
    if isinstance(image, FileImage):
        spool, found = image.file, read_image_header(image.file.head)
        return ImageSource(image, found, spool.length, _as_download(spool.chunks(), found))
    if image.url:
        download = await stack.enter_async_context(upstream.download(target, image))
        if recording and recording.tee:
            rest = recording.tee(image, download.head, download.rest)
            download = replace(download, rest=rest)
        return ImageSource(image, download.measured, download.length, download)
    if image.b64:
        text = normalize_base64(image.b64)
        return from_base64(image if text is image.b64 else replace(image, b64=text))
    if not image.data:
        raise _damaged()
    found = read_image_header(image.data[:HEADER_BYTES])
    if image.media_type in KNOWN_MEDIA_TYPES and not found.media_type:
        raise _damaged()
    return ImageSource(image, found, len(image.data))


def from_base64(image: Image) -> ImageSource:
    """Make a picture ready whose base64 is tidy."""
    length = len(image.b64) // 4 * 3 - image.b64[-2:].count("=")
    return ImageSource(image, measure_base64(image.b64), length)


def _as_download(pieces: AsyncIterator[bytes], found: ImageHeader) -> Download:
    """Read what lies here as if it came from a URL."""
    return Download(b"", found, None, pieces)


def normalize_base64(text: str) -> str:
    r"""Give base64 as it can stand in JSON and be cut anywhere; raises `UpstreamFailed`.

    Some write it with line breaks, without padding, with the letters for URLs, or as a data: URL.

    >>> tidied("AAEC\r\n_-8"), tidied("data:image/png;base64,AAEC")
    ('AAEC/+8=', 'AAEC')
    """
    if is_canonical_base64(text):
        return text
    if text.startswith("data:"):
        text = text.partition(",")[2]
    text = "".join(text.split()).translate(_URL_SAFE_ALPHABET).rstrip("=")
    text += "=" * (-len(text) % 4)
    if not is_canonical_base64(text):
        raise _damaged()
    return text


def is_canonical_base64(text: str) -> bool:
    """Tell whether base64 is as `tidied` would give it."""
    if not text or len(text) % 4 or not text.isascii():
        return False
    for at in range(0, len(text), _BASE64_CHUNK):
        piece = text[at : at + _BASE64_CHUNK]
        try:
            pybase64.b64decode(piece, validate=True)
        except NotBase64:
            return False
        if piece.endswith("=") and at + _BASE64_CHUNK < len(text):
            return False
    return True


def measure_base64(text: str) -> ImageHeader:
    """Measure a picture by the beginning of its base64."""
    found = read_image_header(decode_base64(text[:_SHORT_HEADER]))
    # Every type but JPEG says its size at once.
    return found if found.width else read_image_header(decode_base64(text[: HEADER_BYTES // 3 * 4]))


def decode_base64(text: str) -> bytes:
    """Undo base64; raises `UpstreamFailed`."""
    try:
        return pybase64.b64decode(text, validate=True)
    except (NotBase64, ValueError):
        raise _damaged() from None


def _damaged() -> UpstreamFailed:
    return UpstreamFailed(
        "The provider's answer holds a picture that is damaged.", code="bad_answer"
    )


def measured_receipt(
    number: int, found: ImageHeader, params: Mapping[str, object], length: int | None = None
) -> Iterator[ReceiptLine]:
    """Say what a picture turned out to be, and what was asked for where that is not it.

    >>> asked = {"size": "1024x1024", "output_format": "png"}
    >>> [str(line) for line in lines_of(1, ImageHeader("image/png", 768, 1024), asked, 99)]
    ['measured 1=768x1024;png;99', 'asked 1=1024x1024']
    """
    size, form = found.size, found.format
    told = f"{size};{form or '?'};{length}" if length else f"{size};{form or '?'}"
    yield ReceiptLine("measured", str(number), told)
    pairs = (params.get("size"), size), (params.get("output_format"), form)
    other = [
        asked
        for asked, is_it in pairs
        if isinstance(asked, str) and asked not in ("auto", is_it) and is_it != "?"
    ]
    if other:
        yield ReceiptLine("asked", str(number), ";".join(other))


def cached_receipt(images: Iterable[Image]) -> Iterator[ReceiptLine]:
    """Say how many pictures came from the cache, if any did."""
    if count := sum(isinstance(image, CachedImage) for image in images):
        yield ReceiptLine("cached", "pictures", str(count))


def _slices(data: bytes | memoryview) -> Iterator[memoryview]:
    view = memoryview(data)
    for at in range(0, len(view), _CHUNK):
        yield view[at : at + _CHUNK]
