"""What is known of a kept answer: small, and without the pictures' bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from adapters.contract import Image
from adapters.frozen import frozen
from adapters.table.receipt import Line
from adapters.tools.image_header import Measured

DEFAULT_DOLLARS_PER_IMAGE = 0.04
"""What a picture is taken to cost where its price is not known."""
DOLLARS_PER_SECOND = 0.001
"""What waiting for a picture is taken to cost: six cents a minute."""

_ENTRY_BYTES, _IMAGE_RECORD_BYTES = 1024, 768
"""Memory of an entry and of a picture in it, beside their texts."""


_UNKNOWN_IMAGE = Measured("")


@dataclass(frozen=True, slots=True, repr=False)
class ImageRecord:
    """A picture by the digest of its bytes (SHA-256, 64 hex digits), under which they lie.

    `url` is the provider's own, for as long as half its life is not over: up to `url_until`.
    """

    digest: str
    length: int
    measured: Measured
    extra: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""
    url_expires: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class CacheEntry:
    """An answer: its pictures, and what stood beside them.

    `caller` is who filled it. `by_url`: the provider answered with URLs. `dollars` and `seconds`
    are what it took to make. `expires` is by the clock of the index.
    """

    images: tuple[ImageRecord, ...]
    expires: float
    caller: str = ""
    namespace: str = ""
    created: int = 0
    usage: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    receipt: tuple[Line, ...] = ()
    has_urls: bool = False
    dollars: float = DEFAULT_DOLLARS_PER_IMAGE
    seconds: float = 0.0

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes; raises `orjson.JSONEncodeError`."""
        content = [self.usage, dict(self.extra), [[dict(it.extra), it.url] for it in self.images]]
        size = len(orjson.dumps(content)) + sum(len(str(line)) for line in self.receipt)
        return _ENTRY_BYTES + _IMAGE_RECORD_BYTES * len(self.images) + 2 * size

    @property
    def eviction_value(self) -> float:
        """What it would cost to make it again, in dollars for a byte that it holds.

        >>> entry = Entry((Picture("", 2_000_000, Measured("")),), 0, dollars=0.2, seconds=50)
        >>> round(entry.worth * 2_000_000, 2)
        0.25
        """
        image_bytes = sum(picture.length for picture in self.images)
        return (self.dollars + self.seconds * DOLLARS_PER_SECOND) / max(image_bytes, 1)


async def _no_chunks() -> AsyncIterator[bytes]:
    for chunk in list[bytes]():
        yield chunk


@frozen
class CachedImage(Image):
    """A picture of the cache among those that an answer is made of.

    `place` is where its bytes lie in the blob store, `pieces` gives them.
    """

    path: str = ""
    length: int = 0
    measured: Measured = _UNKNOWN_IMAGE
    read: Callable[[], AsyncIterator[bytes]] = _no_chunks
