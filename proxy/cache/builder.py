"""Makes the entry of an answer whose pictures have arrived in the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.contract import Answer, Image
from adapters.table.receipt import Line
from proxy.cache.entry import DEFAULT_DOLLARS, Entry, Picture
from proxy.cache.images import Arrived
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Plan
from proxy.settings.prices import Prices, price_of

_WRITTEN_ANEW = frozenset({"measured", "asked", "cached"})
"""Lines of a receipt that each answer has of its own."""


@dataclass(frozen=True, slots=True, repr=False)
class Made:
    """An answer, by whom it was asked for, and how long it took; `known` is what was there before.

    `now` is by the clock of the index, `prices` the price table. `usage` is that of all.
    """

    plan: Plan
    attempt: Attempt
    answers: Sequence[Answer]
    known: Entry | None
    usage: Mapping[str, Any] | None
    prices: Prices
    now: float
    seconds: float

    @property
    def images(self) -> list[Image]:
        """The pictures that were made."""
        return [image for answer in self.answers for image in answer.images]

    def entry(self, arrived: Sequence[Arrived]) -> Entry:
        """Return the cache entry for these images."""
        plan, attempt, known = self.plan, self.attempt, self.known
        new = tuple(map(self._picture, self.images, arrived))
        pictures = (*known.pictures, *new) if known else new
        extra = {**self.answers[0].extra}
        created = extra.pop("created", None) or int(time.time())
        return Entry(
            pictures=pictures,
            expires=self.now + (attempt.target.cache.max_age if attempt.target.cache else 0),
            caller=plan.caller,
            namespace=plan.cache_namespace,
            created=created,
            usage=self.usage,
            extra=extra,
            receipt=tuple(line for line in attempt.receipt.lines if lasts(line)),
            by_url=any(picture.url for picture in new),
            dollars=sum(map(self._dollars, pictures)),
            seconds=self.seconds + (known.seconds if known else 0.0),
        )

    def _picture(self, image: Image, arrived: Arrived) -> Picture:
        # Half of the URL's life is left to whoever gets it last.
        until = self.now + self.attempt.target.adapter.url_lifetime / 2 if image.url else 0.0
        about = arrived.digest, arrived.length, arrived.measured, image.extra
        return Picture(*about, image.url, until)

    def _dollars(self, picture: Picture) -> float:
        """Give what a picture cost, as far as it is known."""
        target, found = self.attempt.target, picture.measured
        named = self.attempt.params.get("model") or ""
        model = target.adapter.model_in_force(named, target.credentials)
        pixels = found.width * found.height or None
        price = price_of(self.prices, target.adapter.id, model, pixels)
        return DEFAULT_DOLLARS if price is None else price


def lasts(line: Line) -> bool:
    """Tell whether a line of a receipt is true of the pictures whenever they are answered.

    >>> lasts(Line("dropped", "style")), lasts(Line("converted", "n", "3", "calls=3"))
    (True, False)
    """
    return line.verb not in _WRITTEN_ANEW and line.name != "n"
