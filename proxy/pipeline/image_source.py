"""Images ready to be sent: measured, and read in chunks as bytes or as base64.

No image is held in memory twice: base64 text is sliced, bytes are encoded chunk by chunk, and an
image behind a URL is encoded while it arrives.
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
from proxy.observability.bookkeeping import bookkeeping
from proxy.routing.attempt import ResponseCapture
from proxy.routing.plan import Target
from proxy.upstream.client import ProviderClient
from proxy.upstream.image_download import Download
from proxy.upstream.temp_file import FileImage
from proxy.upstream.turns import next_turn

_CHUNK = 96 * 1024
"""Bytes encoded at once: a multiple of 3, and less than a millisecond of work."""
_BASE64_CHUNK = _CHUNK // 3 * 4
_URL_SAFE_ALPHABET = str.maketrans("-_", "+/")
"""Translates the alphabet of RFC 4648 section 5 to that of section 4."""
_SHORT_HEADER = 64
"""Characters of base64 that hold the size of most images; a JPEG may need more."""


class ImageSource(msgspec.Struct, frozen=True):
    """One image. `length` is its size in bytes; None if the other server did not send it."""

    image: Image
    measured: ImageHeader
    length: int | None
    download: Download | None = None

    __repr__ = object.__repr__

    @property
    def base64_length(self) -> int | None:
        """The length of the image's base64 in characters."""
        if self.image.b64:
            return len(self.image.b64)
        return None if self.length is None else -(-self.length // 3) * 4

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """Yield the image as bytes."""
        if self.download:
            yield self.download.head
            async for chunk in self.download.rest:
                yield chunk
        for at in range(0, len(self.image.b64), _BASE64_CHUNK):
            yield decode_base64(self.image.b64[at : at + _BASE64_CHUNK])
        for part in _slices(self.image.data):
            yield bytes(part)

    async def iter_base64(self) -> AsyncIterator[bytes]:
        """Yield the image as base64."""
        for at in range(0, len(self.image.b64), _BASE64_CHUNK):
            yield self.image.b64[at : at + _BASE64_CHUNK].encode("ascii")
        if self.image.b64:
            return
        left = b""
        async for chunk in self.iter_bytes():
            whole = left + chunk
            even = len(whole) // 3 * 3
            if even > _CHUNK // 2:
                await next_turn()
            for part in _slices(memoryview(whole)[:even]):
                yield pybase64.b64encode(part)
            left = whole[even:]
        yield pybase64.b64encode(left)


async def open_image(
    upstream: ProviderClient,
    target: Target,
    image: Image,
    stack: AsyncExitStack,
    capture: ResponseCapture | None = None,
) -> ImageSource:
    """Return an image ready to be read; raises `UpstreamFailed` if it is damaged.

    If the image is behind a URL, `stack` keeps the connection open, and the tee of `capture`
    reads along.
    """
    if isinstance(image, CachedImage):
        return ImageSource(
            image, image.header, image.length, _as_download(image.read(), image.header)
        )
    if isinstance(image, FileImage):
        file, header = image.file, read_image_header(image.file.head)
        return ImageSource(image, header, file.length, _as_download(file.chunks(), header))
    if image.url:
        download = await stack.enter_async_context(upstream.download(target, image))
        if capture and capture.tee:
            with bookkeeping("cache"):
                rest = capture.tee(image, download.head, download.rest)
                download = replace(download, rest=rest)
        return ImageSource(image, download.measured, download.length, download)
    if image.b64:
        text = normalize_base64(image.b64)
        return from_base64(image if text is image.b64 else replace(image, b64=text))
    if not image.data:
        raise _damaged()
    header = read_image_header(image.data[:HEADER_BYTES])
    if image.media_type in KNOWN_MEDIA_TYPES and not header.media_type:
        raise _damaged()
    return ImageSource(image, header, len(image.data))


def from_base64(image: Image) -> ImageSource:
    """Return the source of an image whose base64 is canonical."""
    length = len(image.b64) // 4 * 3 - image.b64[-2:].count("=")
    return ImageSource(image, measure_base64(image.b64), length)


def _as_download(chunks: AsyncIterator[bytes], header: ImageHeader) -> Download:
    """Return chunks at hand in the form of a download."""
    return Download(b"", header, None, chunks)


def normalize_base64(text: str) -> str:
    r"""Return base64 in canonical form, which can be sliced anywhere; raises `UpstreamFailed`.

    Some providers send line breaks, no padding, the URL-safe alphabet, or a data: URL.

    >>> normalize_base64("AAEC\r\n_-8"), normalize_base64("data:image/png;base64,AAEC")
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
    """Whether the text is base64 as `normalize_base64` returns it."""
    if not text or len(text) % 4 or not text.isascii():
        return False
    for at in range(0, len(text), _BASE64_CHUNK):
        chunk = text[at : at + _BASE64_CHUNK]
        try:
            pybase64.b64decode(chunk, validate=True)
        except NotBase64:
            return False
        if chunk.endswith("=") and at + _BASE64_CHUNK < len(text):
            return False
    return True


def measure_base64(text: str) -> ImageHeader:
    """Return the type and size of an image from the start of its base64."""
    header = read_image_header(decode_base64(text[:_SHORT_HEADER]))
    # Only a JPEG may have its size further in.
    return (
        header if header.width else read_image_header(decode_base64(text[: HEADER_BYTES // 3 * 4]))
    )


def decode_base64(text: str) -> bytes:
    """Decode base64; raises `UpstreamFailed`."""
    try:
        return pybase64.b64decode(text, validate=True)
    except (NotBase64, ValueError):
        raise _damaged() from None


def _damaged() -> UpstreamFailed:
    return UpstreamFailed("The provider's response contains a damaged image.", code="bad_answer")


def measured_receipt(
    number: int, header: ImageHeader, params: Mapping[str, object], length: int | None = None
) -> Iterator[ReceiptLine]:
    """Yield the receipt lines of an image: what it is, and what was requested if that differs.

    `number` counts from 1, `length` is in bytes.

    >>> asked = {"size": "1024x1024", "output_format": "png"}
    >>> [str(line) for line in measured_receipt(1, ImageHeader("image/png", 768, 1024), asked, 99)]
    ['measured 1=768x1024;png;99', 'asked 1=1024x1024']
    """
    size, form = header.size, header.format
    description = f"{size};{form or '?'};{length}" if length else f"{size};{form or '?'}"
    yield ReceiptLine("measured", str(number), description)
    pairs = (params.get("size"), size), (params.get("output_format"), form)
    differing = [
        requested
        for requested, actual in pairs
        if isinstance(requested, str) and requested not in ("auto", actual) and actual != "?"
    ]
    if differing:
        yield ReceiptLine("asked", str(number), ";".join(differing))


def cached_receipt(images: Iterable[Image]) -> Iterator[ReceiptLine]:
    """Yield a receipt line with the number of cached images, if there are any."""
    if count := sum(isinstance(image, CachedImage) for image in images):
        yield ReceiptLine("cached", "images", str(count))


def _slices(data: bytes | memoryview) -> Iterator[memoryview]:
    view = memoryview(data)
    for at in range(0, len(view), _CHUNK):
        yield view[at : at + _CHUNK]
