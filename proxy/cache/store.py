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
from proxy.cache.entry import Entry
from proxy.cache.hot_responses import Ready, ReadyAnswers
from proxy.cache.images import Arrived, Pictures
from proxy.cache.index import Index, LocalIndex
from proxy.errors import BlobStoreFailed, CacheUnavailable, traceback_summary
from proxy.settings.schema import Cache

_LOG = logging.getLogger("easel")
_WITHOUT = (BlobStoreFailed, CacheUnavailable)
"""What a request goes on without; the operator has been told."""

_TIDY_SECONDS = 60.0
_SEARCH_EVERY = 60
"""After how many times of that pictures are looked for that the index does not know."""
_PATIENCE_SECONDS = 10.0
"""How long a look-up waits for what is on its way into the store."""
_MOST_PENDING = 4
"""How many answers of the largest size may be waiting to be kept; what is more is not kept."""


class SimpleCache:
    """Kept answers; run as a context, in which what is too old is given up.

    With an index that other processes have too, `shared` names the folder of their pictures.
    """

    def __init__(
        self,
        settings: Cache,
        blobs: Blobs,
        index: Index | None = None,
        clock: Callable[[], float] = time.monotonic,
        shared: str = "",
    ) -> None:
        self.pictures = Pictures(blobs, settings.answer_bytes, shared)
        self._shared = bool(shared)
        self.clock = clock
        self.index = index or LocalIndex(settings.memory_bytes, settings.disk_bytes, clock)
        # What other processes give up or replace, this one does not hear of.
        self.ready = ReadyAnswers(0 if shared else settings.ready_bytes)
        self._blobs = blobs
        self._room = _MOST_PENDING * settings.answer_bytes
        self._pending: dict[bytes, asyncio.Task[None]] = {}
        self._filling: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._reading = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._run(self._tidied())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._blobs.clear_cache)

    @asynccontextmanager
    async def found(self, key: bytes) -> AsyncIterator[Entry | None]:
        """Give what is kept under a key, good, and whole in the store.

        Its pictures are not deleted meanwhile.
        """
        if task := self._pending.get(key):
            await asyncio.wait({task}, timeout=_PATIENCE_SECONDS)
        entry = await self._known(key)
        if entry is None:
            yield None
            return
        left = list[str]()
        try:
            with self.pictures.lent(entry.pictures, left):
                yield entry if await self._is_whole(key, entry) else None
        finally:
            await self._returned(left)

    async def recalled(self, name: bytes) -> Ready | None:
        """Give the whole answer to a request, if it is ready and still good."""
        ready = self.ready.get(name)
        if ready is None or ready.key in self._pending:  # Another answer is on its way.
            return None
        if await self._known(ready.key) is ready.entry:
            return ready
        self.ready.drop(name)
        return None

    async def _known(self, key: bytes) -> Entry | None:
        """Give what the index has under a key: nothing, while it cannot be asked."""
        try:
            return await self.index.get(key)
        except CacheUnavailable:
            return None

    async def _returned(self, left: list[str]) -> None:
        """Delete what was given up while somebody read it; a failure is nothing to him."""
        if not left:
            return
        with contextlib.suppress(*_WITHOUT):
            async with self._lock:
                await self.pictures.delete(await self.index.free(left))

    async def _is_whole(self, key: bytes, entry: Entry) -> bool:
        """Tell whether the store has all of an entry's pictures; else the entry is given up."""
        try:
            if await self.pictures.are_there(entry.pictures):
                return True
            await self.drop(key)
        except _WITHOUT:
            pass
        return False

    async def put(
        self, key: bytes, entry: Entry, arrived: Iterable[Arrived], *, anew: bool = True
    ) -> None:
        """Keep an entry whose new pictures have arrived; unless `anew`, not over a larger one."""
        async with self._lock:
            there = None if anew else await self._known(key)
            if there and len(there.pictures) >= len(entry.pictures):
                for it in arrived:
                    await self.pictures.discard(it)
                return
            with contextlib.suppress(CacheUnavailable):
                await self._settled(arrived)
                await self.pictures.delete(await self.index.put(key, entry))

    async def _settled(self, arrived: Iterable[Arrived]) -> None:
        """Put pictures where they are looked for, each once: all of them, or none, and raise."""
        new, left = set[str](), deque(arrived)
        try:
            while left:
                if left[0].digest in new or await self.index.announce(left[0].digest):
                    await self.pictures.discard(left[0])
                else:
                    await self.pictures.settle(left[0])
                    new.add(left[0].digest)
                left.popleft()
        except BaseException:
            for it in left:
                await self.pictures.discard(it)
            with contextlib.suppress(*_WITHOUT):
                await self.pictures.delete(await self.index.free(new))
            raise

    async def drop(self, key: bytes) -> None:
        """Give up what is kept under a key."""
        async with self._lock:
            await self.pictures.delete(await self.index.drop(key))

    async def forget(self, caller: str, namespace: str | None) -> int:
        """Give up what a caller filled, in one namespace or in all; tells how many entries.

        Raises `BlobStoreFailed` and `CacheAway`: nobody is told that what is there was forgotten.
        """
        if self._filling:
            # What is on its way is given up too.
            _, late = await asyncio.wait(self._filling, timeout=_PATIENCE_SECONDS)
            for task in late:
                task.cancel()
        async with self._lock:
            count, freed = await self.index.forget(caller, namespace)
            await self.pictures.delete(freed)
        return count

    async def taken_apart(self, read: Callable[[], list[Answer]]) -> list[Answer]:
        """Take a recorded answer apart: in a thread, and one at a time, for the memory it takes."""
        async with self._reading:
            return await asyncio.to_thread(read)

    def later(self, key: bytes, keeping: Coroutine[None, None, None], size: int) -> bool:
        """Have an answer of a size kept, now that the client has it; not if too many wait."""
        if size > self._room:
            keeping.close()
            return False
        self._room -= size
        task = self._pending[key] = self._run(keeping)
        self._filling.add(task)

        def done(_: asyncio.Task[None]) -> None:
            self._room += size
            self._filling.discard(task)
            if self._pending.get(key) is task:
                del self._pending[key]

        task.add_done_callback(done)
        return True

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, _WITHOUT):
            _LOG.error("an answer could not be kept: %s", traceback_summary(error))

    async def _tidied(self) -> None:
        """Give up what is too old, every minute, and now and then what the index has forgotten."""
        for count in itertools.count():
            await asyncio.sleep(_TIDY_SECONDS)
            # What could not be deleted is freed again, or ends with the process.
            with contextlib.suppress(*_WITHOUT):
                while await self._tidied_once():
                    pass
                if self._shared and count % _SEARCH_EVERY == 0:
                    await self._searched()

    async def _searched(self) -> None:
        """Give up pictures that no entry holds: an index elsewhere can lose what it knew."""
        async for digests in self.pictures.all():
            async with self._lock:
                await self.pictures.delete(await self.index.free(digests))

    async def _tidied_once(self) -> bool:
        """Delete what can go; tells whether there may be more."""
        async with self._lock:
            freed = await self.index.tidy()
            await self.pictures.delete(freed)
            await self.index.deleted(freed)
        return bool(freed)


CACHE: web.AppKey[SimpleCache] = web.AppKey("cache")
"""The response cache."""
