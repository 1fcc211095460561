"""The response cache (mode "simple": exact matches).

Entries are in the index, their images in the blob store.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Self

from aiohttp import web

from adapters.contract import Answer
from proxy.blobs.store import BlobStore
from proxy.cache.entry import CacheEntry
from proxy.cache.hot_responses import HotResponse, HotResponses
from proxy.cache.images import ImageStore, StoredImage
from proxy.cache.index import Index, LocalIndex
from proxy.errors import BlobStoreFailed, CacheUnavailable
from proxy.observability.bookkeeping import record_failure
from proxy.settings.schema import Cache

_UNAVAILABLE = (BlobStoreFailed, CacheUnavailable)
"""Failures after which a request continues without the cache. They have been logged."""

_EXPIRE_INTERVAL_SECONDS = 60.0
_ORPHAN_SCAN_EVERY = 60
"""Scan for orphaned images on every 60th expiry run."""
_PENDING_TIMEOUT_SECONDS = 10.0
"""How long a look-up or a purge waits for responses that are being stored."""
_MAX_PENDING = 4
"""How many responses of the largest size may wait to be stored. Others are not cached."""


class ResponseCache:
    """Cached responses; an async context manager that removes expired entries while it is open.

    If the index is shared with other processes, `shared_folder` names the folder of their images.
    """

    def __init__(
        self,
        settings: Cache,
        blobs: BlobStore,
        index: Index | None = None,
        clock: Callable[[], float] = time.monotonic,
        shared_folder: str = "",
    ) -> None:
        self.images = ImageStore(blobs, settings.answer_bytes, shared_folder)
        self._shared = bool(shared_folder)
        self.clock = clock
        self.index = index or LocalIndex(settings.memory_bytes, settings.disk_bytes, clock)
        # Removals by other processes are not announced, so hot responses could be stale.
        self.hot_responses = HotResponses(0 if shared_folder else settings.ready_bytes)
        self._blobs = blobs
        self._pending_budget = _MAX_PENDING * settings.answer_bytes
        self._pending: dict[bytes, asyncio.Task[None]] = {}
        self._fills: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._parsing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._start(self._expire_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._blobs.clear_cache)

    @asynccontextmanager
    async def pinned_entry(self, key: bytes) -> AsyncIterator[CacheEntry | None]:
        """Yield the entry of a key, or None if it has expired or one of its images is missing.

        The images are not deleted inside the context.
        """
        if task := self._pending.get(key):
            await asyncio.wait({task}, timeout=_PENDING_TIMEOUT_SECONDS)
        entry = await self._lookup(key)
        if entry is None:
            yield None
            return
        unpinned = list[str]()
        try:
            with self.images.pinned(entry.images, unpinned):
                yield entry if await self._is_whole(key, entry) else None
        finally:
            await self._delete_unpinned(unpinned)

    async def find_hot(self, digest: bytes) -> HotResponse | None:
        """Return the hot response for a request digest, if there is a valid one."""
        response = self.hot_responses.get(digest)
        if response is None or response.key in self._pending:  # Another response is being stored.
            return None
        if await self._lookup(response.key) is response.entry:
            return response
        self.hot_responses.remove(digest)
        return None

    async def _lookup(self, key: bytes) -> CacheEntry | None:
        """Return the entry of a key, or None, also if the index is unavailable."""
        try:
            return await self.index.get(key)
        except CacheUnavailable:
            return None

    async def _delete_unpinned(self, unpinned: list[str]) -> None:
        """Delete images whose entry was removed while they were read; ignore a failure."""
        if not unpinned:
            return
        with contextlib.suppress(*_UNAVAILABLE):
            async with self._lock:
                await self.images.delete(await self.index.release(unpinned))

    async def _is_whole(self, key: bytes, entry: CacheEntry) -> bool:
        """Whether the blob store has all images of an entry; if not, remove the entry."""
        try:
            if await self.images.all_exist(entry.images):
                return True
            await self.remove(key)
        except _UNAVAILABLE:
            pass
        return False

    async def put(
        self,
        key: bytes,
        entry: CacheEntry,
        stored: Iterable[StoredImage],
        *,
        overwrite: bool = True,
    ) -> None:
        """Store an entry whose new images are uploaded.

        Without `overwrite`, an existing entry with at least as many images stays.
        """
        async with self._lock:
            existing = None if overwrite else await self._lookup(key)
            if existing and len(existing.images) >= len(entry.images):
                for image in stored:
                    await self.images.discard(image)
                return
            with contextlib.suppress(CacheUnavailable):
                await self._commit(stored)
                await self.images.delete(await self.index.put(key, entry))

    async def _commit(self, stored: Iterable[StoredImage]) -> None:
        """Commit uploaded images, each digest once. If one fails, discard all and raise."""
        committed, remaining = set[str](), deque(stored)
        try:
            while remaining:
                if remaining[0].digest in committed or await self.index.reserve(
                    remaining[0].digest
                ):
                    await self.images.discard(remaining[0])
                else:
                    await self.images.commit(remaining[0])
                    committed.add(remaining[0].digest)
                remaining.popleft()
        except BaseException:
            for image in remaining:
                await self.images.discard(image)
            with contextlib.suppress(*_UNAVAILABLE):
                await self.images.delete(await self.index.release(committed))
            raise

    async def remove(self, key: bytes) -> None:
        """Remove the entry of a key."""
        async with self._lock:
            await self.images.delete(await self.index.remove(key))

    async def purge(self, caller: str, namespace: str | None) -> int:
        """Remove a caller's entries, in one namespace or in all; return their number.

        Raises `BlobStoreFailed` and `CacheUnavailable` instead of reporting an incomplete purge.
        """
        if self._fills:
            # Responses that are being stored are purged too.
            _, late = await asyncio.wait(self._fills, timeout=_PENDING_TIMEOUT_SECONDS)
            for task in late:
                task.cancel()
        self.hot_responses.purge(caller, namespace)
        async with self._lock:
            count, orphaned = await self.index.purge(caller, namespace)
            await self.images.delete(orphaned)
        return count

    async def parse_in_thread(self, parse: Callable[[], list[Answer]]) -> list[Answer]:
        """Parse a recorded response in a thread; one at a time, to bound the memory."""
        async with self._parsing:
            return await asyncio.to_thread(parse)

    def store_in_background(
        self, key: bytes, storing: Coroutine[None, None, None], size: int
    ) -> bool:
        """Start the coroutine that stores a response of `size` bytes.

        Returns False, and closes the coroutine, if too many responses are waiting.
        """
        if size > self._pending_budget:
            storing.close()
            return False
        self._pending_budget -= size
        task = self._pending[key] = self._start(storing)
        self._fills.add(task)

        def done(_: asyncio.Task[None]) -> None:
            self._pending_budget += size
            self._fills.discard(task)
            if self._pending.get(key) is task:
                del self._pending[key]

        task.add_done_callback(done)
        return True

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and not isinstance(error, _UNAVAILABLE):
            record_failure("cache", error)

    async def _expire_loop(self) -> None:
        """Remove expired entries every minute, and from time to time orphaned images."""
        for count in itertools.count():
            await asyncio.sleep(_EXPIRE_INTERVAL_SECONDS)
            # An image that could not be deleted is orphaned again, or goes with the process.
            with contextlib.suppress(*_UNAVAILABLE):
                while await self._expire_once():
                    pass
                if self._shared and count % _ORPHAN_SCAN_EVERY == 0:
                    await self._delete_orphans()

    async def _delete_orphans(self) -> None:
        """Delete images that no entry references: an external index can lose its entries."""
        async for digests in self.images.list_digests():
            async with self._lock:
                await self.images.delete(await self.index.release(digests))

    async def _expire_once(self) -> bool:
        """Remove expired entries and delete their images; return whether there may be more."""
        async with self._lock:
            orphaned = await self.index.expire()
            await self.images.delete(orphaned)
            await self.index.confirm_deleted(orphaned)
        return bool(orphaned)


CACHE: web.AppKey[ResponseCache] = web.AppKey("cache")
"""The response cache."""
