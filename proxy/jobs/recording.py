"""The answer of one job, on tape: written once, read by many, each at a pace of their own.

The law: whoever reads sees a prefix of what was written, from the first byte on, and at the end
exactly that; or is told that it broke off, or that its beginning is no longer there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from multidict import CIMultiDict

from proxy.settings.state_dir import make_private

_AHEAD = 48 * 1024 * 1024
"""Bytes that are read from disk in one go by all readers together, within what one may read."""
_LEAST_READ, _MOST_READ = 32 * 1024, 256 * 1024
_SHORT = 32 * 1024
"""Bytes that any connection takes at once."""


class Budget(Protocol):
    """The memory and disk that recordings share, in bytes."""

    in_memory: int
    on_disk: int
    readers: int

    @property
    def left_on_disk(self) -> int:
        """How many bytes more the disk may take."""

    def freed(self) -> None:
        """Wake the writers that wait: something was read or evicted."""

    async def settle(self, tape: Tape) -> None:
        """Wait until a recording that was written to is within the budget."""


class BrokenOffError(Exception):
    """A tape ended before the answer was whole, or its beginning has been given up."""


class Head(msgspec.Struct, frozen=True):
    """An answer's status and headers."""

    status: int
    headers: CIMultiDict[str]


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """So many parts of the tape, side by side, that were moved into its file."""

    at: int
    size: int
    parts: int = 1


class Tape:
    """One answer. `failure` is what it ended in instead, or what broke it off.

    Its parts lie in memory, or in a file once `move` has put them there.
    """

    __slots__ = (
        "_file",
        "_forgotten",
        "_has_file",
        "_last_moved",
        "_moving",
        "_parts",
        "_read_by_all",
        "_readers",
        "_shelf",
        "_trimmed",
        "_waiting",
        "ended",
        "failure",
        "head",
        "in_memory",
        "on_disk",
        "size",
    )

    def __init__(self, shelf: Budget, file: Path | str) -> None:
        self.head: Head | None = None
        self.failure: BaseException | None = None
        self.ended = False
        self.size = 0
        self.in_memory = 0
        self.on_disk = 0
        self._shelf = shelf
        self._file = file
        self._parts: list[bytes | _OnDisk | None] = []
        self._readers: dict[int, int] = {}
        self._read_by_all = 0
        self._last_moved = 0
        self._trimmed = False
        self._forgotten = False
        self._has_file = False
        self._moving = asyncio.Lock()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def is_whole(self) -> bool:
        """Whether all that was written can be read from its beginning."""
        return not self._trimmed

    @property
    def held(self) -> int:
        """How many bytes of it are kept, in memory and on disk."""
        return self.in_memory + self.on_disk

    @property
    def readers(self) -> int:
        """How many are reading."""
        return len(self._readers)

    @property
    def short(self) -> bytes | None:
        """All that was written, where it has ended well, is short and lies in memory."""
        if self.failure is None and self.ended and 0 < self.size == self.in_memory <= _SHORT:
            return b"".join([part for part in self._parts if isinstance(part, bytes)])
        return None

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Note the head."""
        self.head = Head(status, CIMultiDict(headers))
        self._tell()

    async def append(self, piece: bytes) -> None:
        """Write a piece, the same object; wait while there is no room for it."""
        if not piece:
            return
        self.size += len(piece)
        if self._forgotten:  # Its job is being ended: nothing is held any more.
            self._parts.append(None)
            return
        self._parts.append(piece)
        self._hold(len(piece))
        self._tell()
        await self._shelf.settle(self)

    def end(self, failure: BaseException | None = None) -> None:
        """Note that nothing follows, because of `failure` if there is one."""
        self.ended, self.failure = True, failure
        self._tell()

    async def wait_for_head(self) -> Head | None:
        """Wait until the answer begins; None when it ended without one."""
        while self.head is None and not self.ended:
            await self._change()
        return self.head

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Read from the beginning; raises `BrokenOffError`. To be closed by whoever stops early."""
        reader, at = object(), 0
        self._readers[id(reader)] = 0
        self._shelf.readers += 1
        try:
            if self._trimmed:
                raise BrokenOffError
            while True:
                while at < len(self._parts):
                    part = self._parts[at]
                    if part is None:
                        raise BrokenOffError
                    at += 1
                    self._readers[id(reader)] = at
                    self._shelf.freed()
                    async for piece in self._read(part):
                        yield piece
                        del piece
                    del part  # It may be moved to disk while the next is waited for.
                if self.ended:
                    break
                await self._change()
            if self.failure is not None:
                raise BrokenOffError
        finally:
            del self._readers[id(reader)]
            self._shelf.readers -= 1
            self._shelf.freed()

    async def move(self) -> None:
        """Move what is in memory into the file, as far as the disk has room; raises `OSError`.

        It goes on to its end even if cancelled: a thread that writes cannot be stopped.
        """
        if failure := await asyncio.shield(self._move()):
            raise failure

    async def _move(self) -> OSError | None:
        """Move; gives the failure, which nobody may be left to be told of."""
        async with self._moving:
            moved = self._fitting(self._shelf.left_on_disk)
            if not moved:
                return None
            pieces = [part for _, part in moved]
            at, size = self.on_disk, sum(map(len, pieces))
            self._has_file = True
            # Counted before it is written: the disk never holds more than the shelf knows of.
            self._hold(0, size)
            try:
                await asyncio.to_thread(_appended, Path(self._file), at, pieces)
            except OSError as error:
                if not self._forgotten:
                    self._hold(0, -size)
                return error
            finally:
                if self._forgotten:
                    self._unlink()
            self._replace(moved, at)
            return None

    def _replace(self, moved: list[tuple[int, bytes]], at: int) -> None:
        """Put in the place of what now lies in the file, from `at` on, where that is.

        What follows on what was moved before becomes one part with it, and leaves nothings: a tape
        on disk takes no more memory for having been written in many pieces.
        """
        for i, part in moved:
            if self._parts[i] is part:  # It may have been given up meanwhile.
                last = self._parts[self._last_moved]
                if isinstance(last, _OnDisk) and self._goes_on(last, i, at):
                    grown = _OnDisk(last.at, last.size + len(part), last.parts + 1)
                    self._parts[self._last_moved] = grown
                    self._parts[i] = b""
                else:
                    self._parts[i], self._last_moved = _OnDisk(at, len(part)), i
                self._hold(-len(part))
            at += len(part)

    def _goes_on(self, last: _OnDisk, i: int, at: int) -> bool:
        """Tell whether part `i`, in the file from `at` on, follows on the last that was moved.

        Not where somebody has read that one, and would go on behind it.
        """
        first = self._last_moved
        adjacent = (first + last.parts, last.at + last.size) == (i, at)
        return adjacent and not any(first < read <= i for read in self._readers.values())

    def _fitting(self, room: int) -> list[tuple[int, bytes]]:
        """Give the parts in memory, and where they stand, up to a number of bytes."""
        fitting = []
        for i, part in enumerate(self._parts):
            if part and isinstance(part, bytes):
                room -= len(part)
                if room < 0:
                    break
                fitting.append((i, part))
        return fitting

    def trim(self) -> int:
        """Give up what all who listen have read already; nobody can join after that."""
        freed, read = 0, min(self._readers.values(), default=0)
        for i in range(self._read_by_all, read):
            part = self._parts[i]
            if part and isinstance(part, bytes):
                freed += len(part)
                self._parts[i] = None
                self._trimmed = True
        self._read_by_all = max(self._read_by_all, read)
        self._hold(-freed)
        return freed

    def forget(self) -> None:
        """Give up everything, and what is still written."""
        self._forgotten = True
        self._trimmed = self._trimmed or bool(self._parts)
        self._parts = [None] * len(self._parts)
        self._hold(-self.in_memory, -self.on_disk)
        if not self._moving.locked():  # Else it goes when the thread has written.
            self._unlink()

    def restore(self, status: int, headers: Mapping[str, str], size: int) -> None:
        """Take over what an earlier process left in the file."""
        self.begin(status, headers)
        self._parts = [_OnDisk(0, size)] if size else []
        self._has_file = True
        self.size = size
        self._hold(0, size)
        self.end()

    @property
    def _step(self) -> int:
        """Bytes that one reads in one go now: they lie in memory until its client takes them."""
        return max(_LEAST_READ, min(_MOST_READ, _AHEAD // self._shelf.readers))

    async def _read(self, part: bytes | _OnDisk) -> AsyncIterator[bytes]:
        if isinstance(part, bytes):
            if part:
                yield part
            return
        start, end = part.at, part.at + part.size
        while start < end:
            size = min(self._step, end - start)
            try:
                piece = await asyncio.to_thread(_from_file, Path(self._file), start, size)
            except OSError:
                raise BrokenOffError from None
            if len(piece) != size:
                raise BrokenOffError
            yield piece
            del piece
            start += size

    def _hold(self, memory: int, disk: int = 0) -> None:
        """Count what is held more, or less, here and on the shelf."""
        self.in_memory += memory
        self.on_disk += disk
        self._shelf.in_memory += memory
        self._shelf.on_disk += disk

    def _unlink(self) -> None:
        if self._has_file:
            with suppress(OSError):
                Path(self._file).unlink()

    async def _change(self) -> None:
        """Wait until something is told."""
        told = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        try:
            await told
        finally:
            self._waiting.remove(told)

    def _tell(self) -> None:
        for told in self._waiting:
            if not told.done():
                told.set_result(None)


def _appended(file: Path, at: int, pieces: list[bytes]) -> None:
    make_private(file.parent)
    # Not truncated: what lies before is read at the same time.
    opened = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(opened, "wb") as out:
        out.seek(at)
        out.writelines(pieces)


def _from_file(file: Path, at: int, size: int) -> bytes:
    with file.open("rb") as source:
        source.seek(at)
        return source.read(size)
