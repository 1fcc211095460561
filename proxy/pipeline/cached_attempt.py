"""An attempt at a target with a cache: responds from the cache, or stores the new response.

| the cache has | requested from the provider | cache status |
| --- | --- | --- |
| the response, or at least `n` images of the pool | nothing | HIT |
| fewer images of the pool | the missing ones | MISS |
| nothing | all | MISS |
| anything, with `x-portkey-cache-force-refresh` | all | REFRESH |
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
from proxy.observability.bookkeeping import bookkeeping
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
from proxy.upstream.reply_limits import has_too_many_values

_EVENT_FIELDS = frozenset({"quality", "background"})
"""Fields of a cached response that an event takes from the parameters."""


async def attempt_with_cache(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond from the cache, or with the response of `handler`, which is then stored."""
    attempt, plan = request[ATTEMPT], request[PLAN]
    # An invalid request is refused even if the cache has a response for it.
    check_common_params(attempt.params)
    cached = CachedAttempt(request)
    attempt.cache_status = "REFRESH" if plan.force_refresh else "MISS"
    if plan.force_refresh:
        return await cached.fill(handler, None)
    async with cached.cache.pinned_entry(cached.key) as entry:
        if entry and len(entry.images) >= cached.pool_size:
            attempt.cache_status = "HIT"
            add_event(CACHE_HIT)
            return await cached.replay(entry)
        # Cached images cannot be merged into a relayed event stream.
        streamed = attempt.params.get("stream") is True
        return await cached.fill(handler, None if streamed else entry)


class CachedAttempt:
    """The cache entry of one attempt. `pool_size` is the number of images of a pool, or 0."""

    def __init__(self, request: web.Request) -> None:
        attempt = request[ATTEMPT]
        # The routes with and without /v1 are the same endpoint.
        path = request.path.removeprefix("/v1")
        identity = request[CALLER].name, request[PLAN], attempt.target, attempt.params
        self.cache = request.app[CACHE]
        self.key = cache_key(*identity, path)
        self.pool_size = pool_size(attempt.target, attempt.params)
        self._request = request
        self._attempt = attempt

    async def replay(self, entry: CacheEntry) -> web.StreamResponse:
        """Respond with the cached images, in the form that this request asks for."""
        attempt = self._attempt
        with bookkeeping("receipt"):
            attempt.receipt = attempt.receipt.with_lines(*entry.receipt)
        images = self._images(entry.images[: self.pool_size or None])
        if attempt.params.get("stream") is True:
            fields: dict[str, Any] = {k: v for k, v in entry.extra.items() if k in _EVENT_FIELDS}
            attempt.params = {**attempt.params, **fields}
            with bookkeeping("receipt"):
                attempt.receipt = attempt.receipt.with_lines(*cached_receipt(images))
            return await deliver_stream(self._request, _results(images, entry.usage))
        if entry.has_urls:
            attempt.form = attempt.form or "url"
        extra = {**entry.extra, "created": entry.created}
        copy = attempt.capture = ByteCapture(self.cache.hot_responses.max_response_bytes)
        answer = Answer(images, usage=entry.usage, extra=extra)
        response = await deliver(self._request, answer, {})
        by_url = attempt.form == "url" or any(it.url for it in images)
        # URLs are signed again for each response, and every URL expires.
        if copy.complete and copy.chunks and not by_url:
            with bookkeeping("cache"):
                self._store_hot_response(b"".join(copy.chunks), entry)
        return response

    def _store_hot_response(self, body: bytes, entry: CacheEntry) -> None:
        """Store a whole response body in memory, for equal requests."""
        attempt, job = self._attempt, self._request.get(JOB)
        digest = request_digest(self._request[PLAN])
        origin = job.id if job else "", attempt.receipt, attempt.target
        hot_response = HotResponse(body, *origin, self.key, entry, attempt.model)
        self.cache.hot_responses.put(digest, hot_response)

    async def fill(self, handler: Handler, existing: CacheEntry | None) -> web.StreamResponse:
        """Respond with what `handler` generates beyond the `existing` images, and store it."""
        attempt, store = self._attempt, self.cache.images
        if existing:
            images = self._images(existing.images)
            attempt.prior_images = tuple((image, attempt.target) for image in images)
            attempt.params = {**attempt.params, "n": self.pool_size - len(images)}
            attempt.raw_body = None
        filling = CacheFill(store, partial(_image_bytes, client_for(self._request), attempt.target))
        capture = attempt.capture = ResponseCapture(store.max_image_bytes, filling.tee)
        began = self.cache.clock()
        try:
            response = await handler(self._request)
        finally:
            if not self._is_complete(capture):
                with bookkeeping("cache"):
                    await filling.abort()
        with bookkeeping("cache"):
            if self._is_complete(capture):
                keeping = self._store(filling, capture, existing, self.cache.clock() - began)
                is_stored = False
                try:
                    is_stored = self.cache.store_in_background(self.key, keeping, capture.size)
                finally:
                    if not is_stored:
                        keeping.close()
                        await filling.abort()
        return response

    def _is_complete(self, capture: ResponseCapture) -> bool:
        """Whether the response was a success, sent to its end, and has all images."""
        good = capture.complete and not capture.discarded and capture.status == OK
        noted = bool(capture.answers or capture.chunks)
        return good and noted and ERROR_CODE not in self._request

    async def _store(
        self,
        filling: CacheFill,
        capture: ResponseCapture,
        known: CacheEntry | None,
        seconds: float,
    ) -> None:
        """Store a response that was sent, merged with the `known` entry, if it has images."""
        plan, attempt = self._request[PLAN], self._attempt
        prices = self._request[SNAPSHOT].settings.price_table
        answers = capture.answers or await self.cache.parse_in_thread(
            partial(_parse_recording, attempt, capture)
        )
        usage = sum_usage([known.usage if known else None, *(answer.usage for answer in answers)])
        now = self.cache.clock()
        builder = EntryBuilder(plan, attempt, answers, known, usage, prices, now, seconds)
        try:
            stored = await filling.finish(builder.images)
        except (ImageError, NotCacheableError):
            return
        if stored:
            overwrite = plan.force_refresh or not self.pool_size
            await self.cache.put(self.key, builder.build(stored), stored, overwrite=overwrite)

    def _images(self, records: Sequence[ImageRecord]) -> tuple[CachedImage, ...]:
        now, ours = self.cache.clock(), self._request[SNAPSHOT].settings.blobs.persist_urls
        return tuple(
            self.cache.images.cached_image(it, "" if ours or it.url_expires <= now else it.url)
            for it in records
        )


def _parse_recording(attempt: Attempt, capture: ResponseCapture) -> list[Answer]:
    body = b"".join(capture.chunks or ())
    capture.chunks = None
    if has_too_many_values(body):
        return []
    return parse_recorded(attempt.target.adapter, attempt.calls[0], capture.content_type, body)


async def _image_bytes(
    upstream: ProviderClient, target: Target, image: Image
) -> AsyncIterator[bytes]:
    """Yield the bytes of an image that was sent; an image behind a URL is downloaded again."""
    async with AsyncExitStack() as stack:
        source = await open_image(upstream, target, image, stack)
        async for piece in source.iter_bytes():
            yield piece


async def _results(
    images: Sequence[Image], usage: Mapping[str, Any] | None
) -> AsyncGenerator[ConversationResult, None]:
    """Yield each image as a result of its own, the last one with the usage of all."""
    for number, image in enumerate(images, 1):
        yield Answer((image,), usage=usage if number == len(images) else None), {}
