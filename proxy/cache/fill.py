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
from adapters.table.receipt import ReceiptLine
from adapters.tools.json_access import dig, dig_str
from adapters.tools.sse import EventParser
from proxy.cache.entry import DEFAULT_DOLLARS_PER_IMAGE, CacheEntry, ImageRecord
from proxy.cache.images import ImageStore, StoredImage
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Plan
from proxy.settings.prices import Prices, image_price

FetchImage = Callable[[Image], AsyncIterator[bytes]]
"""Returns the bytes of an image, from memory or from its URL."""
EVENT_STREAM = "text/event-stream"
_TOP_LEVEL_FIELDS = ("background", "output_format", "quality", "size")
"""Fields of an event that belong to the response as a whole."""
_NON_IMAGE_FIELDS = frozenset({*_TOP_LEVEL_FIELDS, "type", "b64_json", "created_at", "usage"})
_PER_RESPONSE_VERBS = frozenset({"measured", "asked", "cached"})
"""Receipt verbs that describe one delivery, so they are not stored."""


class CacheFill:
    """Stores the images of one response. A slow blob store never delays the client."""

    def __init__(self, images: ImageStore, fetch: FetchImage) -> None:
        self._images = images
        self._fetch = fetch
        self._uploads: dict[int, asyncio.Task[StoredImage]] = {}

    async def tee(
        self, image: Image, head: bytes, rest: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Yield the chunks of `rest`, and store the whole image in parallel.

        The caller must keep a reference to `image` until `finish` or `abort`: uploads are found by
        its identity.
        """
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        upload = asyncio.create_task(self._upload(queue, image.media_type))
        self._uploads[id(image)] = upload
        queue.put_nowait(head)
        complete = False
        try:
            async for chunk in rest:
                if not upload.done():
                    queue.put_nowait(chunk)
                yield chunk
            complete = True
            queue.put_nowait(None)
        finally:
            if not complete:
                upload.cancel()

    async def _upload(self, queue: asyncio.Queue[bytes | None], media_type: str) -> StoredImage:
        return await self._images.upload(_read_queue(queue), media_type)

    async def finish(self, images: Sequence[Image]) -> list[StoredImage]:
        """Wait for all images to be stored, and fetch those not delivered yet.

        If one fails, discard all of them and raise its error.
        """
        stored: list[StoredImage] = []
        try:
            for image in images:
                upload = self._uploads.pop(id(image), None)
                put = upload or self._images.upload(self._fetch(image), image.media_type)
                stored.append(await put)
        except BaseException:
            for copy in stored:
                await self._images.discard(copy)
            raise
        finally:
            await self.abort()
        return stored

    async def abort(self) -> None:
        """Cancel the uploads that `finish` did not collect, and discard their images."""
        uploads = [*self._uploads.values()]
        self._uploads.clear()
        for task in uploads:
            task.cancel()
        for result in await asyncio.gather(*uploads, return_exceptions=True):
            if isinstance(result, StoredImage):
                await self._images.discard(result)


async def _read_queue(queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while (chunk := await queue.get()) is not None:
        yield chunk


@dataclass(frozen=True, slots=True, repr=False)
class EntryBuilder:
    """A response with its request and duration. `existing` is the cache entry it extends, if any.

    `now` is the time by the clock of the index, `prices` the price table, `usage` the token usage
    of all answers together.
    """

    plan: Plan
    attempt: Attempt
    answers: Sequence[Answer]
    existing: CacheEntry | None
    usage: Mapping[str, Any] | None
    prices: Prices
    now: float
    seconds: float

    @property
    def images(self) -> list[Image]:
        """The generated images of all answers."""
        return [image for answer in self.answers for image in answer.images]

    def build(self, stored: Sequence[StoredImage]) -> CacheEntry:
        """Return the cache entry for these images."""
        plan, attempt, existing = self.plan, self.attempt, self.existing
        new = tuple(map(self._record, self.images, stored))
        images = (*existing.images, *new) if existing else new
        extra = {**self.answers[0].extra}
        created = extra.pop("created", None) or int(time.time())
        return CacheEntry(
            images=images,
            expires=self.now + (attempt.target.cache.max_age if attempt.target.cache else 0),
            caller=plan.caller,
            namespace=plan.cache_namespace,
            created=created,
            usage=self.usage,
            extra=extra,
            receipt=tuple(
                line for line in attempt.receipt.lines if is_cacheable_receipt_line(line)
            ),
            has_urls=any(image.url for image in new),
            dollars=sum(map(self._cost, images)),
            seconds=self.seconds + (existing.seconds if existing else 0.0),
        )

    def _record(self, image: Image, stored: StoredImage) -> ImageRecord:
        # The last client to receive the URL has half of its lifetime left.
        url_expires = self.now + self.attempt.target.adapter.url_lifetime / 2 if image.url else 0.0
        content = stored.digest, stored.length, stored.header, image.extra
        return ImageRecord(*content, image.url, url_expires)

    def _cost(self, record: ImageRecord) -> float:
        """Return the price of an image in dollars, or a default if it is unknown."""
        target, info = self.attempt.target, record.header
        requested = self.attempt.params.get("model") or ""
        model = target.adapter.effective_model(requested, target.credentials)
        pixels = info.width * info.height or None
        price = image_price(self.prices, target.adapter.id, model, pixels)
        return DEFAULT_DOLLARS_PER_IMAGE if price is None else price


def is_cacheable_receipt_line(line: ReceiptLine) -> bool:
    """Whether a receipt line describes the images themselves, not one delivery of them.

    >>> is_cacheable_receipt_line(ReceiptLine("dropped", "style"))
    True
    >>> is_cacheable_receipt_line(ReceiptLine("converted", "n", "3", "calls=3"))
    False
    """
    return line.verb not in _PER_RESPONSE_VERBS and line.name != "n"


def parse_recorded(
    adapter: Adapter, call: ImageCall, content_type: str, body: bytes
) -> list[Answer]:
    """Parse a recorded response body; return [] if it is not a complete response with images.

    `content_type` says whether the body is JSON or server-sent events. Parsing megabytes takes long
    enough to block the event loop: call this in a thread.
    """
    if content_type == EVENT_STREAM:
        return _parse_events(body)
    reply = ProviderReply(body=body)
    try:
        answer = adapter.parse_answer(call, reply)
    except ImageError:
        return []
    created = dig(reply.json(), "created")
    extra = {**answer.extra, "created": created} if isinstance(created, int) else answer.extra
    return [Answer(answer.images, usage=answer.usage, extra=extra)]


def _parse_events(body: bytes) -> list[Answer]:
    events = EventParser()
    values = [event.json() for event in (*events.feed(body), *events.flush())]
    if any(dig(it, "error") is not None or dig_str(it, "type") == "error" for it in values):
        return []
    return [_completed_answer(it) for it in values if dig_str(it, "type").endswith(".completed")]


def _completed_answer(event: dict[str, Any]) -> Answer:
    extra = {name: value for name, value in event.items() if name not in _NON_IMAGE_FIELDS}
    shared = {name: event[name] for name in _TOP_LEVEL_FIELDS if name in event}
    if isinstance(created := event.get("created_at"), int):
        shared["created"] = created
    image = Image(b64=dig_str(event, "b64_json"), extra=extra)
    usage = event.get("usage")
    return Answer((image,), usage=usage if isinstance(usage, dict) else None, extra=shared)
