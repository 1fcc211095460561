"""Cache entries: the metadata of a stored response, without the image bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from adapters.contract import Image
from adapters.frozen import frozen
from adapters.table.receipt import ReceiptLine
from adapters.tools.image_header import ImageHeader

DEFAULT_DOLLARS_PER_IMAGE = 0.04
"""Assumed price of an image whose price is not known."""
DOLLARS_PER_SECOND = 0.001
"""Assumed cost of waiting for an image: six cents a minute."""

_ENTRY_BYTES, _IMAGE_RECORD_BYTES = 1024, 768
"""Memory of an entry, and of an image record in it, without their texts."""

_UNKNOWN_IMAGE = ImageHeader("")


@dataclass(frozen=True, slots=True, repr=False)
class ImageRecord:
    """A stored image. `digest` is the SHA-256 of its bytes (64 hex digits) and names its blob.

    `url` is the provider's own URL. It is handed out until half of its lifetime is over, at
    `url_expires`.
    """

    digest: str
    length: int
    header: ImageHeader
    extra: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""
    url_expires: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class CacheEntry:
    """A stored response: its images and its other fields.

    `caller` made the request. `has_urls`: the provider returned URLs. `dollars` and `seconds` are
    the cost and the duration of the generation. `expires` is a time by the clock of the index.
    """

    images: tuple[ImageRecord, ...]
    expires: float
    caller: str = ""
    namespace: str = ""
    created: int = 0
    usage: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    receipt: tuple[ReceiptLine, ...] = ()
    has_urls: bool = False
    dollars: float = DEFAULT_DOLLARS_PER_IMAGE
    seconds: float = 0.0

    @property
    def weight(self) -> int:
        """Approximate memory of the entry in bytes; raises `orjson.JSONEncodeError`."""
        content = [
            self.usage,
            dict(self.extra),
            [[dict(image.extra), image.url] for image in self.images],
        ]
        size = len(orjson.dumps(content)) + sum(len(str(line)) for line in self.receipt)
        size += 2 * (len(self.namespace) + len(self.caller))
        return _ENTRY_BYTES + _IMAGE_RECORD_BYTES * len(self.images) + 2 * size

    @property
    def eviction_value(self) -> float:
        """Cost of generating the images again, in dollars per byte of image data.

        >>> image = ImageRecord("", 2_000_000, ImageHeader(""))
        >>> entry = CacheEntry((image,), 0, dollars=0.2, seconds=50)
        >>> round(entry.eviction_value * 2_000_000, 2)
        0.25
        """
        image_bytes = sum(image.length for image in self.images)
        return (self.dollars + self.seconds * DOLLARS_PER_SECOND) / max(image_bytes, 1)


async def _no_chunks() -> AsyncIterator[bytes]:
    for chunk in list[bytes]():
        yield chunk


@frozen
class CachedImage(Image):
    """A stored image as part of a response.

    `path` is its path in the blob store; `read` returns an iterator over its bytes.
    """

    path: str = ""
    length: int = 0
    header: ImageHeader = _UNKNOWN_IMAGE
    read: Callable[[], AsyncIterator[bytes]] = _no_chunks
