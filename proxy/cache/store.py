"""The simple cache: exact matches. Entries lie in the index, their pictures in the blob store."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Self

from aiohttp import web

from adapters.contract import Answer
from proxy.blobs.store import Blobs
from proxy.cache.entry import CacheEntry
from proxy.cache.hot_responses import HotResponse, HotResponses
from proxy.cache.images import ImageStore, StoredImage
from proxy.cache.index import Index, LocalIndex
from proxy.errors import BlobStoreFailed, CacheUnavailable, traceback_summary
from proxy.settings.schema import Cache

_LOG = logging.getLogger("easel")
_UNAVAILABLE = (BlobStoreFailed, CacheUnavailable)
"""What a request goes on without; the operator has been told."""

_EXPIRE_INTERVAL_SECONDS = 60.0
_ORPHAN_SCAN_EVERY = 60
"""After how many times of that pictures are looked for that the index does not know."""
_PENDING_TIMEOUT_SECONDS = 10.0
"""How long a look-up waits for what is on its way into the store."""
_MAX_PENDING = 4
"""How many answers of the largest size may be waiting to be kept; what is more is not kept."""


class ResponseCache:
    """Kept answers; run as a context, in which what is too old is given up.

    With an index that other processes have too, `shared` names the folder of their pictures.
    """

    def __init__(
        self,
        settings: Cache,
        blobs: Blobs,
        index: Index | None = None,
        clock: Callable[[], float] = time.monotonic,
        shared_folder: str = "",
    ) -> None:
        self.images = ImageStore(blobs, settings.answer_bytes, shared_folder)
        self._shared = bool(shared_folder)
        self.clock = clock
        self.index = index or LocalIndex(settings.memory_bytes, settings.disk_bytes, clock)
        # What other processes give up or replace, this one does not hear of.
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
        """Give what is kept under a key, good, and whole in the store.

        Its pictures are not deleted meanwhile.
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
        """Give the whole answer to a request, if it is ready and still good."""
        response = self.hot_responses.get(digest)
        if response is None or response.key in self._pending:  # Another answer is on its way.
            return None
        if await self._lookup(response.key) is response.entry:
            return response
        self.hot_responses.remove(digest)
        return None

    async def _lookup(self, key: bytes) -> CacheEntry | None:
        """Give what the index has under a key: nothing, while it cannot be asked."""
        try:
            return await self.index.get(key)
        except CacheUnavailable:
            return None

    async def _delete_unpinned(self, unpinned: list[str]) -> None:
        """Delete what was given up while somebody read it; a failure is nothing to him."""
        if not unpinned:
            return
        with contextlib.suppress(*_UNAVAILABLE):
            async with self._lock:
                await self.images.delete(await self.index._drop_references(unpinned))

    async def _is_whole(self, key: bytes, entry: CacheEntry) -> bool:
        """Tell whether the store has all of an entry's pictures; else the entry is given up."""
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
        """Keep an entry whose new pictures have arrived; unless `anew`, not over a larger one."""
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
        """Put pictures where they are looked for, each once: all of them, or none, and raise."""
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
                await self.images.delete(await self.index._drop_references(committed))
            raise

    async def remove(self, key: bytes) -> None:
        """Give up what is kept under a key."""
        async with self._lock:
            await self.images.delete(await self.index.remove(key))

    async def purge(self, caller: str, namespace: str | None) -> int:
        """Give up what a caller filled, in one namespace or in all; tells how many entries.

        Raises `BlobStoreFailed` and `CacheAway`: nobody is told that what is there was forgotten.
        """
        if self._fills:
            # What is on its way is given up too.
            _, late = await asyncio.wait(self._fills, timeout=_PENDING_TIMEOUT_SECONDS)
            for task in late:
                task.cancel()
        async with self._lock:
            count, orphaned = await self.index.purge(caller, namespace)
            await self.images.delete(orphaned)
        return count

    async def parse_in_thread(self, parse: Callable[[], list[Answer]]) -> list[Answer]:
        """Take a recorded answer apart: in a thread, and one at a time, for the memory it takes."""
        async with self._parsing:
            return await asyncio.to_thread(parse)

    def store_in_background(
        self, key: bytes, storing: Coroutine[None, None, None], size: int
    ) -> bool:
        """Have an answer of a size kept, now that the client has it; not if too many wait."""
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
        if error and not isinstance(error, _UNAVAILABLE):
            _LOG.error("an answer could not be kept: %s", traceback_summary(error))

    async def _expire_loop(self) -> None:
        """Give up what is too old, every minute, and now and then what the index has forgotten."""
        for count in itertools.count():
            await asyncio.sleep(_EXPIRE_INTERVAL_SECONDS)
            # What could not be deleted is freed again, or ends with the process.
            with contextlib.suppress(*_UNAVAILABLE):
                while await self._expire_once():
                    pass
                if self._shared and count % _ORPHAN_SCAN_EVERY == 0:
                    await self._delete_orphans()

    async def _delete_orphans(self) -> None:
        """Give up pictures that no entry holds: an index elsewhere can lose what it knew."""
        async for digests in self.images.list_digests():
            async with self._lock:
                await self.images.delete(await self.index._drop_references(digests))

    async def _expire_once(self) -> bool:
        """Delete what can go; tells whether there may be more."""
        async with self._lock:
            orphaned = await self.index.expire()
            await self.images.delete(orphaned)
            await self.index.confirm_deleted(orphaned)
        return bool(orphaned)


CACHE: web.AppKey[ResponseCache] = web.AppKey("cache")
"""The response cache."""
