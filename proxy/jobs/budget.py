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

from proxy.jobs.recording import Tape

_LOG = logging.getLogger("easel")

EACH = 3072
"""Bytes that a job takes beside its answer: what was asked, headers, its places in tables."""
_AT_ONCE = 512
"""What part of too many jobs goes at once: all are listed for it."""
_MOVED_AT_ONCE, _MOST_MOVED = 64, 256
"""What part of the memory is made free at once, and the most tapes that are moved for that."""


class Holder(Protocol):
    """What has a tape: a job. `delivered` counts who got all of it."""

    tape: Tape
    delivered: int

    @property
    def listeners(self) -> int:
        """How many wait for it, or read it."""

    @property
    def is_heard(self) -> bool:
        """Whether any of their clients is still there."""

    def give_up(self) -> None:
        """Be forgotten, and end if it still runs."""


class Shelf:
    """Holds what is written within `memory` and `disk` bytes. Holders are in order of age.

    `each` is how many bytes of memory a holder takes itself.

    `in_memory` and `on_disk` are the bytes held, `readers` is how many read; tapes keep them.
    `prepare` is called, in a thread, before something is moved to disk; it raises `OSError` where
    that cannot be.
    """

    def __init__(self, memory: int, disk: int, each: int = 0) -> None:
        self.in_memory = 0
        self.on_disk = 0
        self.readers = 0
        self.prepare: Callable[[], None] = lambda: None
        self._memory = memory
        self._disk = disk
        self._each = each
        self._holders: dict[int, Holder] = {}
        self._delivered: dict[int, Holder] = {}
        self._lock = asyncio.Lock()
        self._waiting: dict[Tape, asyncio.Future[None]] = {}
        self._all_told = True
        self._is_stuck = False

    @property
    def _enough(self) -> int:
        """How many bytes in memory leave some room again."""
        return self._memory - self._memory // _MOVED_AT_ONCE

    @property
    def left_on_disk(self) -> int:
        """How many bytes more the disk may take."""
        return self._disk - self.on_disk

    def add(self, holder: Holder) -> None:
        """Take a holder in, in place of others if there are too many."""
        self._holders[id(holder)] = holder
        if holder.delivered:
            self.note(holder)
        self.in_memory += self._each
        if (most := self._memory // 2) < len(self._holders) * self._each:
            for given in self._ended():
                if len(self._holders) * self._each <= most - most // _AT_ONCE:
                    break
                given.give_up()

    def note(self, holder: Holder) -> None:
        """Note that somebody has got all of what a holder has."""
        self._delivered.setdefault(id(holder), holder)

    def remove(self, holder: Holder) -> None:
        """Let a holder go, with what it holds."""
        self._delivered.pop(id(holder), None)
        if self._holders.pop(id(holder), None):
            holder.tape.forget()
            self.in_memory -= self._each
            self.freed()

    def freed(self) -> None:
        """Tell that something was read or given up."""
        self._is_stuck = False
        if not self._lock.locked():  # Else those who wait are told once that is over.
            self._go_on()

    async def settle(self, tape: Tape) -> None:
        """Make room after a tape was written to.

        It waits while there is none, as long as its own listeners have not read what it holds.
        """
        self._is_stuck = False
        try:
            while self.in_memory > self._memory and tape.in_memory:
                if self._lock.locked() or self._is_stuck:
                    await self._wait(tape)
                else:
                    async with self._at_work():
                        await self._make_room()
        finally:
            self._waiting.pop(tape, None)

    async def _wait(self, tape: Tape) -> None:
        """Wait until something may have changed; whoever waits again keeps its place."""
        self._all_told = False
        told = self._waiting[tape] = asyncio.get_running_loop().create_future()
        await told

    def _go_on(self) -> None:
        """Have all who wait look again, first come first.

        In one turn of the loop: a lock that a thousand take one after the other takes as many.
        """
        if self._all_told:
            return
        self._all_told = True
        for told in self._waiting.values():
            if not told.done():
                told.set_result(None)

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        """Move and give up what is to be, with nobody else doing so."""
        try:
            async with self._lock:
                yield
        finally:
            if not self._is_stuck:
                self._go_on()

    async def keep(self, holder: Holder) -> bool:
        """Put all of a tape that has ended on disk, if need be in place of what was delivered.

        False: there is no room. Raises `OSError`.
        """
        tape = holder.tape
        async with self._at_work():
            while tape.in_memory and self.on_disk + tape.in_memory > self._disk:
                given = next((it for it in self._ended() if it.delivered and it.tape.on_disk), None)
                if given is None or holder.delivered or tape.in_memory > self._disk:
                    return False
                given.give_up()
            if tape.in_memory:
                await self._move(tape)
        return True

    def fit(self) -> None:
        """Give up what was taken over from an earlier process, and has no room now."""
        while self.on_disk > self._disk and (given := next(self._given_up_first(), None)):
            given.give_up()

    def lose_disk(self, error: OSError) -> None:
        """Have no disk from now on, and say so: it is full, or cannot be written to."""
        if self._disk:
            _LOG.warning("jobs are not kept on disk: %s: %s", error.filename, error.strerror)
        self._disk = 0

    def _delivered_given_up(self) -> bool:
        """Give up what was delivered and lies in memory, as far as need be; tell if any was."""
        before = self.in_memory
        for it in _each_of(self._delivered):
            if self.in_memory <= self._enough:
                break
            if it.tape.in_memory and it.tape.ended and not it.is_heard:
                it.give_up()
        return self.in_memory < before

    async def _make_much_room(self, tapes: list[Tape]) -> None:
        """Move the largest to disk, a part of all memory in one go: all were looked at for it."""
        for tape in heapq.nlargest(_MOST_MOVED, tapes, key=lambda it: it.in_memory):
            if tape.in_memory <= self.left_on_disk:
                await self._move(tape)
            if self.in_memory <= self._enough:
                break

    async def _move(self, tape: Tape) -> None:
        await asyncio.to_thread(self.prepare)
        await tape.move()

    async def _make_room(self) -> None:
        """Take one step towards less memory, if that is too much; note where there is none."""
        if self.in_memory <= self._memory:
            return
        if self._delivered_given_up():
            return
        left, holders = self.left_on_disk, self._holders.values()
        fitting = [it.tape for it in holders if 0 < it.tape.in_memory <= left]
        if fitting:
            try:
                await self._make_much_room(fitting)
            except OSError as error:
                self.lose_disk(error)
        elif given := next(self._given_up_first(), None):
            given.give_up()
        else:
            read = [it for it in holders if it.listeners == it.tape.readers]
            self._is_stuck = sum(holder.tape.trim() for holder in read) == 0

    def _given_up_first(self) -> Iterator[Holder]:
        """Give what may be given up, in order."""
        yield from (it for it in self._ended() if it.tape.held)
        for it in _each_of(self._holders):
            if not (it.tape.ended or it.is_heard) and it.tape.held:
                yield it

    def _ended(self) -> Iterator[Holder]:
        """Give what has ended and nobody listens to, in order."""
        yield from (it for it in _each_of(self._delivered) if it.tape.ended and not it.is_heard)
        for it in _each_of(self._holders):
            if it.tape.ended and not (it.is_heard or id(it) in self._delivered):
                yield it


def _each_of(holders: dict[int, Holder]) -> Iterator[Holder]:
    """Give those that are left when their turn comes: there may be many, and few are asked."""
    for name in tuple(holders):
        if it := holders.get(name):
            yield it
