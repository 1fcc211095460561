"""Fill the cache from a response: store its images, read a recorded body, build the entry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.errors import ImageError
from adapters.http import ProviderReply
from adapters.table.receipt import Line
from adapters.tools.json_access import at, text_at
from adapters.tools.sse import Events
from proxy.cache.entry import DEFAULT_DOLLARS, Entry, Picture
from proxy.cache.images import Arrived, Pictures
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Plan
from proxy.settings.prices import Prices, price_of

Fetch = Callable[[Image], AsyncIterator[bytes]]
"""Gives the bytes of a picture, from memory or from its URL."""
EVENTS = "text/event-stream"
_ABOUT = ("background", "output_format", "quality", "size")
"""Members of an event that stand at the top of an answer in JSON."""
_OWN = frozenset({*_ABOUT, "type", "b64_json", "created_at", "usage"})
_WRITTEN_ANEW = frozenset({"measured", "asked", "cached"})
"""Lines of a receipt that each answer has of its own."""


class Filling:
    """One answer on its way into the cache. A slow store never holds the client up."""

    def __init__(self, pictures: Pictures, fetch: Fetch) -> None:
        self._pictures = pictures
        self._fetch = fetch
        self._passing: dict[int, asyncio.Task[Arrived]] = {}

    async def watch(
        self, image: Image, head: bytes, rest: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Store a picture that goes by; it is the caller who holds the `image` meanwhile."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        storing = asyncio.create_task(self._pictures.put(_queued(queue), image.media_type))
        self._passing[id(image)] = storing
        queue.put_nowait(head)
        whole = False
        try:
            async for piece in rest:
                if not storing.done():
                    queue.put_nowait(piece)
                yield piece
            whole = True
            queue.put_nowait(None)
        finally:
            if not whole:
                storing.cancel()

    async def stored(self, images: Sequence[Image]) -> list[Arrived]:
        """Store what has not been stored yet; all of the pictures, or none: then it raises."""
        arrived: list[Arrived] = []
        try:
            for image in images:
                passing = self._passing.pop(id(image), None)
                put = passing or self._pictures.put(self._fetch(image), image.media_type)
                arrived.append(await put)
        except BaseException:
            for it in arrived:
                await self._pictures.discard(it)
            raise
        finally:
            await self.drop()
        return arrived

    async def drop(self) -> None:
        """Give up what passed by and was not asked for."""
        passing = [*self._passing.values()]
        self._passing.clear()
        for task in passing:
            task.cancel()
        for came in await asyncio.gather(*passing, return_exceptions=True):
            if isinstance(came, Arrived):
                await self._pictures.discard(came)


async def _queued(queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while (piece := await queue.get()) is not None:
        yield piece


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
        model = target.adapter.effective_model(named, target.credentials)
        pixels = found.width * found.height or None
        price = price_of(self.prices, target.adapter.id, model, pixels)
        return DEFAULT_DOLLARS if price is None else price


def lasts(line: Line) -> bool:
    """Tell whether a line of a receipt is true of the pictures whenever they are answered.

    >>> lasts(Line("dropped", "style")), lasts(Line("converted", "n", "3", "calls=3"))
    (True, False)
    """
    return line.verb not in _WRITTEN_ANEW and line.name != "n"


def read(adapter: Adapter, call: ImageCall, content_type: str, body: bytes) -> list[Answer]:
    """Give what an answer consists of; nothing where it is no whole answer with pictures.

    It takes its time with an answer of megabytes: call it in a thread.
    """
    if content_type == EVENTS:
        return _read_events(body)
    reply = ProviderReply(body=body)
    try:
        answer = adapter.parse_answer(call, reply)
    except ImageError:
        return []
    created = at(reply.json(), "created")
    extra = {**answer.extra, "created": created} if isinstance(created, int) else answer.extra
    return [Answer(answer.images, usage=answer.usage, extra=extra)]


def _read_events(body: bytes) -> list[Answer]:
    events = Events()
    told = [event.json() for event in (*events.feed(body), *events.rest())]
    if any(at(it, "error") is not None or text_at(it, "type") == "error" for it in told):
        return []
    return [_finished(it) for it in told if text_at(it, "type").endswith(".completed")]


def _finished(told: dict[str, Any]) -> Answer:
    own = {name: value for name, value in told.items() if name not in _OWN}
    about = {name: told[name] for name in _ABOUT if name in told}
    if isinstance(created := told.get("created_at"), int):
        about["created"] = created
    image = Image(b64=text_at(told, "b64_json"), extra=own)
    usage = told.get("usage")
    return Answer((image,), usage=usage if isinstance(usage, dict) else None, extra=about)
