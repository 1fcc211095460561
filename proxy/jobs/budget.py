"""The memory and disk budget of all recordings.

What is promised:

- Memory stays within `jobs.memory_bytes` (plus the chunk just written), disk within
  `jobs.disk_bytes`.
- A slow reader slows only its own job: another job never waits for it, even with memory full.
- Undelivered results survive longest. When memory is full, delivered results are evicted first,
  oldest first: they are there only in case the client lost its connection. Then the largest
  recordings spill to disk. When the disk is full as well, this is evicted, in this order:

    1. delivered results on disk, oldest first
    2. undelivered results, oldest first
    3. running jobs without a client: they are cancelled
    4. of running jobs with clients, the part that all of them have read: no retry can join then

- Within each step, first go the jobs of callers that hold more than their share: an equal part of
  what is held, for each caller that holds anything. A flood ends at its own caller's share. When
  memory is full and the disk is not, only their delivered results are evicted.
- If that is not enough, the writer waits until its own readers have read.
- A job takes `BYTES_PER_JOB` of memory whatever its response, and what its headers, its failure,
  its key and the slots of its chunks need. If all jobs together need more than half of the memory
  for that, ended ones are evicted, in the same order.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Protocol

from proxy.jobs.recording import Recording

_LOG = logging.getLogger("easel")

BYTES_PER_JOB = 3072
"""Bytes that a job takes besides its body: key, headers, table entries."""
_EVICTED_PART = 512
"""Evict at least this fraction (1/n) of the jobs at once, because listing them costs time."""
_FREED_PART, _MAX_SPILLED = 64, 256
"""Free this fraction (1/n) of the memory at once, with at most so many recordings spilled."""


class Evictable(Protocol):
    """A job, as the budget sees it. `deliveries` counts clients that got the whole response."""

    recording: Recording
    deliveries: int

    @property
    def listeners(self) -> int:
        """Number of requests that wait for the response or read it."""

    @property
    def has_connected_client(self) -> bool:
        """Whether the client of any listener is still connected."""

    def evict(self) -> None:
        """Remove the job from its store, and cancel it if it still runs."""


class RecordingBudget:
    """Keeps recordings within `memory_limit` and `disk_limit` bytes. Jobs are in order of age.

    `bytes_per_job` is the memory that a job itself takes.

    Recordings maintain `bytes_in_memory` (with `overhead_bytes`, what belongs to no body),
    `bytes_on_disk` and `readers`, the number of open readers. `prepare_disk` is called in a thread
    before something is spilled; it raises `OSError` if the disk cannot be used.
    """

    def __init__(self, memory_limit: int, disk_limit: int, bytes_per_job: int = 0) -> None:
        self.bytes_in_memory = 0
        self.bytes_on_disk = 0
        self.overhead_bytes = 0
        self.readers = 0
        self.prepare_disk: Callable[[], None] = lambda: None
        self._memory_limit = memory_limit
        self._disk_limit = disk_limit
        self._bytes_per_job = bytes_per_job
        self._jobs: dict[int, Evictable] = {}
        self._delivered: dict[int, Evictable] = {}
        self._callers: dict[int, str] = {}
        self._lock = asyncio.Lock()
        self._waiters: dict[Recording, asyncio.Future[None]] = {}
        self._all_woken = True
        self._is_exhausted = False

    @property
    def _low_water_mark(self) -> int:
        """Bytes in memory at which eviction and spilling stop."""
        return self._memory_limit - self._memory_limit // _FREED_PART

    @property
    def free_disk_bytes(self) -> int:
        """Bytes that may still be written to disk."""
        return self._disk_limit - self.bytes_on_disk

    def add(self, job: Evictable, caller: str = "") -> None:
        """Add a job of a caller; evict ended ones if there are too many."""
        self._jobs[id(job)] = job
        self._callers[id(job)] = caller
        if job.deliveries:
            self.mark_delivered(job)
        self.count_overhead(self._bytes_per_job)

    def count_overhead(self, more: int) -> None:
        """Count bytes that jobs take besides their bodies; evict ended jobs beyond the limit."""
        self.bytes_in_memory += more
        self.overhead_bytes += more
        if (limit := self._memory_limit // 2) < self.overhead_bytes:
            for ended in self._ended_unread():
                if self.overhead_bytes <= limit - limit // _EVICTED_PART:
                    break
                ended.evict()

    def mark_delivered(self, job: Evictable) -> None:
        """Record that no client waits for a job: one has got its whole response, or it failed."""
        self._delivered.setdefault(id(job), job)

    def remove(self, job: Evictable) -> None:
        """Remove a job and discard its recording."""
        self._delivered.pop(id(job), None)
        if self._jobs.pop(id(job), None):
            del self._callers[id(job)]
            job.recording.discard()
            self.bytes_in_memory -= self._bytes_per_job
            self.overhead_bytes -= self._bytes_per_job
            self.notify_freed()

    def notify_freed(self) -> None:
        """Wake waiting writers, because something was read or evicted."""
        self._is_exhausted = False
        if not self._lock.locked():  # Else `_exclusive` wakes them at its end.
            self._wake_waiters()

    async def wait_for_memory(self, recording: Recording) -> None:
        """Free memory after a recording was written to.

        Waits while none can be freed and this recording's own readers have not read what it holds.
        """
        self._is_exhausted = False
        try:
            while self.bytes_in_memory > self._memory_limit and recording.bytes_in_memory:
                if self._lock.locked() or self._is_exhausted:
                    await self._wait_for_change(recording)
                else:
                    async with self._exclusive():
                        await self._free_memory()
        finally:
            self._waiters.pop(recording, None)

    async def _wait_for_change(self, recording: Recording) -> None:
        """Wait until memory may have been freed; a writer that waits again keeps its position."""
        self._all_woken = False
        woken = self._waiters[recording] = asyncio.get_running_loop().create_future()
        await woken

    def _wake_waiters(self) -> None:
        """Wake all waiting writers in one turn of the event loop, in FIFO order.

        A lock would take one turn for each of a thousand waiters.
        """
        if self._all_woken:
            return
        self._all_woken = True
        for woken in self._waiters.values():
            if not woken.done():
                woken.set_result(None)

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Hold the lock for spilling and evicting; wake waiting writers at the end."""
        try:
            async with self._lock:
                yield
        finally:
            if not self._is_exhausted:
                self._wake_waiters()

    async def flush_to_disk(self, job: Evictable) -> bool:
        """Write all of an ended recording to disk, evicting delivered ones for it if needed.

        Returns whether the disk has space for it. Raises `OSError`.
        """
        recording = job.recording
        async with self._exclusive():
            while recording.bytes_in_memory and recording.bytes_in_memory > self.free_disk_bytes:
                evicted = self._delivered_on_disk()
                too_large = recording.bytes_in_memory > self._disk_limit
                if evicted is None or job.deliveries or too_large:
                    return False
                evicted.evict()
            if recording.bytes_in_memory:
                await self._spill(recording)
        return True

    def _delivered_on_disk(self) -> Evictable | None:
        ended = self._ended_unread()
        return next((it for it in ended if it.deliveries and it.recording.bytes_on_disk), None)

    def enforce_disk_limit(self) -> None:
        """Evict results of an earlier process that exceed the present disk limit."""
        while self.bytes_on_disk > self._disk_limit:
            if (evicted := next(self._eviction_order(), None)) is None:
                return
            evicted.evict()

    def disable_disk(self, error: OSError) -> None:
        """Stop using the disk, because it is full or not writable, and log that once."""
        if self._disk_limit:
            _LOG.warning(
                "job results can no longer be stored on disk: %s: %s; using memory only",
                error.filename,
                error.strerror,
            )
        self._disk_limit = 0

    def _evict_delivered(self) -> bool:
        """Evict delivered recordings until memory is below the low-water mark.

        Returns whether any was evicted.
        """
        before = self.bytes_in_memory
        # While the disk takes what one caller holds, another's loses nothing for it.
        can_spill = self.free_disk_bytes > self._memory_limit // _FREED_PART
        for it in self._largest_callers_first(self._delivered, only_above=can_spill):
            if self.bytes_in_memory <= self._low_water_mark:
                break
            if it.recording.bytes_in_memory and it.recording.ended and not it.has_connected_client:
                it.evict()
        return self.bytes_in_memory < before

    async def _spill_largest(self, recordings: list[Recording]) -> None:
        """Spill the largest recordings until memory is below the low-water mark."""
        largest = heapq.nlargest(_MAX_SPILLED, recordings, key=lambda it: it.bytes_in_memory)
        for recording in largest:
            if recording.bytes_in_memory <= self.free_disk_bytes:
                await self._spill(recording)
            if self.bytes_in_memory <= self._low_water_mark:
                break

    async def _spill(self, recording: Recording) -> None:
        await asyncio.to_thread(self.prepare_disk)
        await recording.spill()

    async def _free_memory(self) -> None:
        """Take one step to free memory if the limit is exceeded; record if no step is left."""
        if self.bytes_in_memory <= self._memory_limit:
            return
        if self._evict_delivered():
            return
        free, jobs = self.free_disk_bytes, self._jobs.values()
        fitting = [it.recording for it in jobs if 0 < it.recording.bytes_in_memory <= free]
        if fitting:
            try:
                await self._spill_largest(fitting)
            except OSError as error:
                self.disable_disk(error)
        elif evicted := next(self._eviction_order(), None):
            evicted.evict()
        else:
            drained = [it for it in jobs if it.listeners == it.recording.reader_count]
            self._is_exhausted = sum(it.recording.drop_consumed() for it in drained) == 0

    def _eviction_order(self) -> Iterator[Evictable]:
        """Yield the jobs that may be evicted, in order."""
        yield from (it for it in self._ended_unread() if it.recording.bytes_held)
        for it in self._largest_callers_first(self._jobs):
            if not (it.recording.ended or it.has_connected_client) and it.recording.bytes_held:
                yield it

    def _ended_unread(self) -> Iterator[Evictable]:
        """Yield the jobs that have ended and have no client, delivered ones first."""
        for it in self._largest_callers_first(self._delivered):
            if it.recording.ended and not it.has_connected_client:
                yield it
        for it in self._largest_callers_first(self._jobs):
            if it.recording.ended and not (it.has_connected_client or id(it) in self._delivered):
                yield it

    def _largest_callers_first(
        self, jobs: dict[int, Evictable], *, only_above: bool = False
    ) -> Iterator[Evictable]:
        """Yield jobs that are present at their turn, first those of callers above their share.

        With `only_above` the jobs of the others are left out, unless no caller is above its share.
        """
        above = self._callers_above_share()
        callers = self._callers
        if above:
            yield from _iter_present({k: it for k, it in jobs.items() if callers[k] in above}, jobs)
            if only_above:
                return
        yield from _iter_present({k: it for k, it in jobs.items() if callers[k] not in above}, jobs)

    def _callers_above_share(self) -> set[str]:
        held: dict[str, int] = {}
        for key, it in self._jobs.items():
            recording, caller = it.recording, self._callers[key]
            size = recording.bytes_held + recording.overhead + self._bytes_per_job
            held[caller] = held.get(caller, 0) + size
        if len(held) < 2:  # noqa: PLR2004 - one caller has it all
            return set()
        # Usage, not the limits: what must go is what exceeds an equal part of what is held.
        share = sum(held.values()) / len(held)
        return {caller for caller, size in held.items() if size > share}


def _iter_present(chosen: dict[int, Evictable], jobs: dict[int, Evictable]) -> Iterator[Evictable]:
    """Yield each chosen job that is still present at its turn: the consumer may evict some."""
    for key, it in chosen.items():
        if key in jobs:
            yield it
