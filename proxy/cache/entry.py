"""What is known of a kept answer: small, and without the pictures' bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from adapters.contract import Image
from adapters.frozen import value
from adapters.table.receipt import Line
from adapters.tools.image_header import Measured

DEFAULT_DOLLARS = 0.04
"""What a picture is taken to cost where its price is not known."""
DOLLARS_A_SECOND = 0.001
"""What waiting for a picture is taken to cost: six cents a minute."""

_ENTRY_BYTES, _PICTURE_BYTES = 1024, 768
"""Memory of an entry and of a picture in it, beside their texts."""


_UNKNOWN = Measured("")


@dataclass(frozen=True, slots=True, repr=False)
class Picture:
    """A picture by the digest of its bytes (SHA-256, 64 hex digits), under which they lie.

    `url` is the provider's own, for as long as half its life is not over: up to `url_until`.
    """

    digest: str
    length: int
    measured: Measured
    extra: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""
    url_until: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class Entry:
    """An answer: its pictures, and what stood beside them.

    `caller` is who filled it. `by_url`: the provider answered with URLs. `dollars` and `seconds`
    are what it took to make. `expires` is by the clock of the index.
    """

    pictures: tuple[Picture, ...]
    expires: float
    caller: str = ""
    namespace: str = ""
    created: int = 0
    usage: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    receipt: tuple[Line, ...] = ()
    by_url: bool = False
    dollars: float = DEFAULT_DOLLARS
    seconds: float = 0.0

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes; raises `orjson.JSONEncodeError`."""
        told = [self.usage, dict(self.extra), [[dict(it.extra), it.url] for it in self.pictures]]
        written = len(orjson.dumps(told)) + sum(len(str(line)) for line in self.receipt)
        return _ENTRY_BYTES + _PICTURE_BYTES * len(self.pictures) + 2 * written

    @property
    def worth(self) -> float:
        """What it would cost to make it again, in dollars for a byte that it holds.

        >>> entry = Entry((Picture("", 2_000_000, Measured("")),), 0, dollars=0.2, seconds=50)
        >>> round(entry.worth * 2_000_000, 2)
        0.25
        """
        held = sum(picture.length for picture in self.pictures)
        return (self.dollars + self.seconds * DOLLARS_A_SECOND) / max(held, 1)


async def _nothing() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece


@value
class KeptImage(Image):
    """A picture of the cache among those that an answer is made of.

    `place` is where its bytes lie in the blob store, `pieces` gives them.
    """

    place: str = ""
    length: int = 0
    measured: Measured = _UNKNOWN
    pieces: Callable[[], AsyncIterator[bytes]] = _nothing
