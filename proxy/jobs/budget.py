"""All tapes together, within bounds: so much in memory, so much on disk, never more.

For what does not fit into memory, what was delivered to its end goes first, first come first: it
lies there only in case the client lost it on the way. Then the largest are moved to disk: what is
not delivered yet. What does not fit on disk is given up, in this order:

    1. what was delivered, and lies on disk already, first come first
    2. what waits for its client, oldest first
    3. the job of nobody: one that still runs, and whose client has gone
    4. of a job with listeners, what all of them have read: nobody else can join it then

If that is not enough, whoever writes waits until those who listen to it have read. A slow client
delays its own job alone: where all have read all of it, that job goes on beside the full memory.

A job takes memory whatever it answers. That counts, and of more jobs than half the memory is for,
those go that have ended, in the same order.
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
"""Bytes that a job takes beside its answer: what was asked, headers, its places in tables."""
_EVICTED_PART = 512
"""What part of too many jobs goes at once: all are listed for it."""
_FREED_PART, _MAX_SPILLED = 64, 256
"""What part of the memory is made free at once, and the most tapes that are moved for that."""


class Evictable(Protocol):
    """What has a tape: a job. `delivered` counts who got all of it."""

    recording: Recording
    deliveries: int

    @property
    def listeners(self) -> int:
        """How many wait for it, or read it."""

    @property
    def has_connected_client(self) -> bool:
        """Whether any of their clients is still there."""

    def evict(self) -> None:
        """Be forgotten, and end if it still runs."""


class RecordingBudget:
    """Holds what is written within `memory` and `disk` bytes. Holders are in order of age.

    `each` is how many bytes of memory a holder takes itself.

    `in_memory` and `on_disk` are the bytes held, `readers` is how many read; tapes keep them.
    `prepare` is called, in a thread, before something is moved to disk; it raises `OSError` where
    that cannot be.
    """

    def __init__(self, memory_limit: int, disk_limit: int, bytes_per_job: int = 0) -> None:
        self.bytes_in_memory = 0
        self.bytes_on_disk = 0
        self.readers = 0
        self.prepare_disk: Callable[[], None] = lambda: None
        self._memory_limit = memory_limit
        self._disk_limit = disk_limit
        self._bytes_per_job = bytes_per_job
        self._jobs: dict[int, Evictable] = {}
        self._delivered: dict[int, Evictable] = {}
        self._lock = asyncio.Lock()
        self._waiters: dict[Recording, asyncio.Future[None]] = {}
        self._all_woken = True
        self._is_exhausted = False

    @property
    def _low_water_mark(self) -> int:
        """How many bytes in memory leave some room again."""
        return self._memory_limit - self._memory_limit // _FREED_PART

    @property
    def free_disk_bytes(self) -> int:
        """How many bytes more the disk may take."""
        return self._disk_limit - self.bytes_on_disk

    def add(self, job: Evictable) -> None:
        """Take a holder in, in place of others if there are too many."""
        self._jobs[id(job)] = job
        if job.deliveries:
            self.mark_delivered(job)
        self.bytes_in_memory += self._bytes_per_job
        if (limit := self._memory_limit // 2) < len(self._jobs) * self._bytes_per_job:
            for ended in self._ended_unread():
                if len(self._jobs) * self._bytes_per_job <= limit - limit // _EVICTED_PART:
                    break
                ended.evict()

    def mark_delivered(self, job: Evictable) -> None:
        """Note that somebody has got all of what a holder has."""
        self._delivered.setdefault(id(job), job)

    def remove(self, job: Evictable) -> None:
        """Let a holder go, with what it holds."""
        self._delivered.pop(id(job), None)
        if self._jobs.pop(id(job), None):
            job.recording.discard()
            self.bytes_in_memory -= self._bytes_per_job
            self.notify_freed()

    def notify_freed(self) -> None:
        """Tell that something was read or given up."""
        self._is_exhausted = False
        if not self._lock.locked():  # Else those who wait are told once that is over.
            self._wake_waiters()

    async def wait_for_memory(self, recording: Recording) -> None:
        """Make room after a tape was written to.

        It waits while there is none, as long as its own listeners have not read what it holds.
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
        """Wait until something may have changed; whoever waits again keeps its place."""
        self._all_woken = False
        woken = self._waiters[recording] = asyncio.get_running_loop().create_future()
        await woken

    def _wake_waiters(self) -> None:
        """Have all who wait look again, first come first.

        In one turn of the loop: a lock that a thousand take one after the other takes as many.
        """
        if self._all_woken:
            return
        self._all_woken = True
        for woken in self._waiters.values():
            if not woken.done():
                woken.set_result(None)

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Move and give up what is to be, with nobody else doing so."""
        try:
            async with self._lock:
                yield
        finally:
            if not self._is_exhausted:
                self._wake_waiters()

    async def flush_to_disk(self, job: Evictable) -> bool:
        """Put all of a tape that has ended on disk, if need be in place of what was delivered.

        False: there is no room. Raises `OSError`.
        """
        recording = job.recording
        async with self._exclusive():
            while (
                recording.bytes_in_memory
                and self.bytes_on_disk + recording.bytes_in_memory > self._disk_limit
            ):
                delivered = next(
                    (
                        it
                        for it in self._ended_unread()
                        if it.deliveries and it.recording.bytes_on_disk
                    ),
                    None,
                )
                if (
                    delivered is None
                    or job.deliveries
                    or recording.bytes_in_memory > self._disk_limit
                ):
                    return False
                delivered.evict()
            if recording.bytes_in_memory:
                await self._spill(recording)
        return True

    def enforce_disk_limit(self) -> None:
        """Give up what was taken over from an earlier process, and has no room now."""
        while self.bytes_on_disk > self._disk_limit and (
            evicted := next(self._eviction_order(), None)
        ):
            evicted.evict()

    def disable_disk(self, error: OSError) -> None:
        """Have no disk from now on, and say so: it is full, or cannot be written to."""
        if self._disk_limit:
            _LOG.warning("jobs are not kept on disk: %s: %s", error.filename, error.strerror)
        self._disk_limit = 0

    def _evict_delivered(self) -> bool:
        """Give up what was delivered and lies in memory, as far as need be; tell if any was."""
        before = self.bytes_in_memory
        for it in _iter_present(self._delivered):
            if self.bytes_in_memory <= self._low_water_mark:
                break
            if it.recording.bytes_in_memory and it.recording.ended and not it.has_connected_client:
                it.evict()
        return self.bytes_in_memory < before

    async def _spill_largest(self, recordings: list[Recording]) -> None:
        """Move the largest to disk, a part of all memory in one go: all were looked at for it."""
        for recording in heapq.nlargest(
            _MAX_SPILLED, recordings, key=lambda it: it.bytes_in_memory
        ):
            if recording.bytes_in_memory <= self.free_disk_bytes:
                await self._spill(recording)
            if self.bytes_in_memory <= self._low_water_mark:
                break

    async def _spill(self, recording: Recording) -> None:
        await asyncio.to_thread(self.prepare_disk)
        await recording.spill()

    async def _free_memory(self) -> None:
        """Take one step towards less memory, if that is too much; note where there is none."""
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
            self._is_exhausted = sum(holder.recording.drop_consumed() for holder in drained) == 0

    def _eviction_order(self) -> Iterator[Evictable]:
        """Give what may be given up, in order."""
        yield from (it for it in self._ended_unread() if it.recording.bytes_held)
        for it in _iter_present(self._jobs):
            if not (it.recording.ended or it.has_connected_client) and it.recording.bytes_held:
                yield it

    def _ended_unread(self) -> Iterator[Evictable]:
        """Give what has ended and nobody listens to, in order."""
        yield from (
            it
            for it in _iter_present(self._delivered)
            if it.recording.ended and not it.has_connected_client
        )
        for it in _iter_present(self._jobs):
            if it.recording.ended and not (it.has_connected_client or id(it) in self._delivered):
                yield it


def _iter_present(jobs: dict[int, Evictable]) -> Iterator[Evictable]:
    """Give those that are left when their turn comes: there may be many, and few are asked."""
    for name in tuple(jobs):
        if it := jobs.get(name):
            yield it
