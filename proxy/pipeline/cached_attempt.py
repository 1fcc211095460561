"""Simple cache: answers what is kept, and keeps what the rest of the chain answers.

| what is kept | what is asked of the provider | status |
| --- | --- | --- |
| the answer, or as many pictures of the pool as are asked for | nothing | HIT |
| fewer pictures of the pool | the others | MISS |
| nothing, or the request says to ask anew | all | MISS, REFRESH |
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.contract import Answer, Image
from adapters.errors import ImageError
from proxy.cache.entry import CachedImage, CacheEntry, ImageRecord
from proxy.cache.fill import CacheFill, EntryBuilder, parse_recorded
from proxy.cache.hot_responses import ByteCapture, HotResponse
from proxy.cache.images import NotCacheableError
from proxy.cache.keys import cache_key, pool_size, request_digest
from proxy.cache.store import CACHE
from proxy.context import ATTEMPT, CALLER, ERROR_CODE, PLAN
from proxy.http.status import OK
from proxy.jobs.keys import JOB
from proxy.observability.tracing.attributes import CACHE_HIT
from proxy.observability.tracing.hooks import add_event
from proxy.pipeline.converse import sum_usage
from proxy.pipeline.image_source import cached_receipt, open_image
from proxy.pipeline.response import deliver
from proxy.pipeline.sse import ConversationResult, deliver_stream
from proxy.pipeline.translate import check_common_params
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt, ResponseCapture
from proxy.routing.plan import Target
from proxy.upstream.client import ProviderClient, client_for

_EVENT_FIELDS = frozenset({"quality", "background"})
"""What an answer says of its pictures, and an event takes from the parameters."""


async def attempt_with_cache(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond from the cache, or with the response of `handler`, which is then stored."""
    attempt, plan = request[ATTEMPT], request[PLAN]
    # An invalid request is refused even if the cache has a response for it.
    check_common_params(attempt.params)
    look_up = CachedAttempt(request)
    attempt.cache_status = "REFRESH" if plan.force_refresh else "MISS"
    if plan.force_refresh:
        return await look_up.fill(handler, None)
    async with look_up.cache.pinned_entry(look_up.key) as entry:
        if entry and len(entry.images) >= look_up.pool_size:
            attempt.cache_status = "HIT"
            add_event(CACHE_HIT)
            return await look_up.replay(entry)
        # Events that are relayed leave no room for others.
        streamed = attempt.params.get("stream") is True
        return await look_up.fill(handler, None if streamed else entry)


class CachedAttempt:
    """What one attempt asks the cache for. `pooled` is how many pictures of a pool, or 0."""

    def __init__(self, request: web.Request) -> None:
        attempt = request[ATTEMPT]
        # Both spellings of the route are the same endpoint.
        path = request.path.removeprefix("/v1")
        asks = request[CALLER].name, request[PLAN], attempt.target, attempt.params
        self.cache = request.app[CACHE]
        self.key = cache_key(*asks, path)
        self.pool_size = pool_size(attempt.target, attempt.params)
        self._request = request
        self._attempt = attempt

    async def replay(self, entry: CacheEntry) -> web.StreamResponse:
        """Answer with what is kept, in the form that is asked for now."""
        attempt = self._attempt
        attempt.receipt = attempt.receipt.with_lines(*entry.receipt)
        images = self._images(entry.images[: self.pool_size or None])
        if attempt.params.get("stream") is True:
            about: dict[str, Any] = {k: v for k, v in entry.extra.items() if k in _EVENT_FIELDS}
            attempt.params = {**attempt.params, **about}
            attempt.receipt = attempt.receipt.with_lines(*cached_receipt(images))
            return await deliver_stream(self._request, _results(images, entry.usage))
        if entry.has_urls and not attempt.params.get("response_format"):
            attempt.params = {**attempt.params, "response_format": "url"}
        extra = {**entry.extra, "created": entry.created}
        copy = attempt.capture = ByteCapture(self.cache.hot_responses.max_response_bytes)
        answer = Answer(images, usage=entry.usage, extra=extra)
        response = await deliver(self._request, answer, {})
        by_url = attempt.params.get("response_format") == "url" or any(it.url for it in images)
        # A URL of ours is signed anew for each answer, and no URL is good for ever.
        if copy.complete and copy.chunks and not by_url:
            self._store_hot_response(b"".join(copy.chunks), entry)
        return response

    def _store_hot_response(self, body: bytes, entry: CacheEntry) -> None:
        """Keep a whole answer, as it was written, for the next time it is asked for."""
        attempt, job = self._attempt, self._request.get(JOB)
        name = request_digest(self._request[PLAN])
        whose = job.id if job else "", attempt.receipt, attempt.target
        ready = HotResponse(body, *whose, self.key, entry, attempt.model)
        self.cache.hot_responses.put(name, ready)

    async def fill(self, handler: Handler, existing: CacheEntry | None) -> web.StreamResponse:
        """Have the rest of the chain make what is not `known`, and keep it."""
        attempt, pictures = self._attempt, self.cache.images
        if existing:
            images = self._images(existing.images)
            attempt.prior_images = tuple((image, attempt.target) for image in images)
            attempt.params = {**attempt.params, "n": self.pool_size - len(images)}
            attempt.raw_body = None
        filling = CacheFill(
            pictures, partial(_image_bytes, client_for(self._request), attempt.target)
        )
        recording = attempt.capture = ResponseCapture(pictures.max_image_bytes, filling.tee)
        began = self.cache.clock()
        try:
            response = await handler(self._request)
        finally:
            if not self._is_complete(recording):
                await filling.abort()
        if self._is_complete(recording):
            keeping = self._store(filling, recording, existing, self.cache.clock() - began)
            if not self.cache.store_in_background(self.key, keeping, recording.size):
                await filling.abort()
        return response

    def _is_complete(self, recording: ResponseCapture) -> bool:
        """Tell whether an answer was a success, went to its end, and was all there was."""
        good = recording.complete and not recording.discarded and recording.status == OK
        noted = bool(recording.answers or recording.chunks)
        return good and noted and ERROR_CODE not in self._request

    async def _store(
        self,
        filling: CacheFill,
        recording: ResponseCapture,
        known: CacheEntry | None,
        seconds: float,
    ) -> None:
        """Keep an answer that the client has, beside what was `known`; not if it is no picture."""
        plan, attempt = self._request[PLAN], self._attempt
        prices = self._request[SNAPSHOT].settings.price_table
        answers = recording.answers or await self.cache.parse_in_thread(
            partial(_parse_recording, attempt, recording)
        )
        usage = sum_usage([known.usage if known else None, *(answer.usage for answer in answers)])
        now = self.cache.clock()
        made = EntryBuilder(plan, attempt, answers, known, usage, prices, now, seconds)
        try:
            arrived = await filling.finish(made.images)
        except (ImageError, NotCacheableError):
            return
        if arrived:
            anew = plan.force_refresh or not self.pool_size
            await self.cache.put(self.key, made.build(arrived), arrived, overwrite=anew)

    def _images(self, pictures: Sequence[ImageRecord]) -> tuple[CachedImage, ...]:
        now, ours = self.cache.clock(), self._request[SNAPSHOT].settings.blobs.persist_urls
        return tuple(
            self.cache.images.cached_image(it, "" if ours or it.url_expires <= now else it.url)
            for it in pictures
        )


def _parse_recording(attempt: Attempt, recording: ResponseCapture) -> list[Answer]:
    body = b"".join(recording.chunks or ())
    recording.chunks = None
    return parse_recorded(attempt.target.adapter, attempt.calls[0], recording.content_type, body)


async def _image_bytes(
    upstream: ProviderClient, target: Target, image: Image
) -> AsyncIterator[bytes]:
    """Give the bytes of a picture that the client has; a URL is asked once more."""
    async with AsyncExitStack() as stack:
        source = await open_image(upstream, target, image, stack)
        async for piece in source.iter_bytes():
            yield piece


async def _results(
    images: Sequence[Image], usage: Mapping[str, Any] | None
) -> AsyncGenerator[ConversationResult, None]:
    """Give each picture by itself, the last one with what was counted for all."""
    for number, image in enumerate(images, 1):
        yield Answer((image,), usage=usage if number == len(images) else None), {}
