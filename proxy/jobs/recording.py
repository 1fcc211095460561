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

from proxy.settings.state_dir import ensure_private_dir

_READ_AHEAD_BYTES = 48 * 1024 * 1024
"""Bytes that are read from disk in one go by all readers together, within what one may read."""
_MIN_READ, _MAX_READ = 32 * 1024, 256 * 1024
_SHORT_BYTES = 32 * 1024
"""Bytes that any connection takes at once."""


class Budget(Protocol):
    """The memory and disk that recordings share, in bytes."""

    bytes_in_memory: int
    bytes_on_disk: int
    readers: int

    @property
    def free_disk_bytes(self) -> int:
        """How many bytes more the disk may take."""

    def notify_freed(self) -> None:
        """Wake the writers that wait: something was read or evicted."""

    async def wait_for_memory(self, recording: Recording) -> None:
        """Wait until a recording that was written to is within the budget."""


class RecordingTruncated(Exception):
    """A tape ended before the answer was whole, or its beginning has been given up."""


class ResponseHead(msgspec.Struct, frozen=True):
    """An answer's status and headers."""

    status: int
    headers: CIMultiDict[str]


@dataclass(frozen=True, slots=True)
class _DiskPart:
    """So many parts of the tape, side by side, that were moved into its file."""

    offset: int
    size: int
    parts: int = 1


class Recording:
    """One answer. `failure` is what it ended in instead, or what broke it off.

    Its parts lie in memory, or in a file once `move` has put them there.
    """

    __slots__ = (
        "_budget",
        "_file",
        "_has_file",
        "_is_discarded",
        "_last_spilled",
        "_parts",
        "_positions",
        "_read_by_all",
        "_spill_lock",
        "_start_dropped",
        "_waiters",
        "bytes_in_memory",
        "bytes_on_disk",
        "ended",
        "failure",
        "head",
        "size",
    )

    def __init__(self, budget: Budget, file: Path | str) -> None:
        self.head: ResponseHead | None = None
        self.failure: BaseException | None = None
        self.ended = False
        self.size = 0
        self.bytes_in_memory = 0
        self.bytes_on_disk = 0
        self._budget = budget
        self._file = file
        self._parts: list[bytes | _DiskPart | None] = []
        self._positions: dict[int, int] = {}
        self._read_by_all = 0
        self._last_spilled = 0
        self._start_dropped = False
        self._is_discarded = False
        self._has_file = False
        self._spill_lock = asyncio.Lock()
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def is_replayable(self) -> bool:
        """Whether all that was written can be read from its beginning."""
        return not self._start_dropped

    @property
    def bytes_held(self) -> int:
        """How many bytes of it are kept, in memory and on disk."""
        return self.bytes_in_memory + self.bytes_on_disk

    @property
    def reader_count(self) -> int:
        """How many are reading."""
        return len(self._positions)

    @property
    def short_body(self) -> bytes | None:
        """All that was written, where it has ended well, is short and lies in memory."""
        if (
            self.failure is None
            and self.ended
            and 0 < self.size == self.bytes_in_memory <= _SHORT_BYTES
        ):
            return b"".join([part for part in self._parts if isinstance(part, bytes)])
        return None

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Note the head."""
        self.head = ResponseHead(status, CIMultiDict(headers))
        self._notify()

    async def append(self, chunk: bytes) -> None:
        """Write a piece, the same object; wait while there is no room for it."""
        if not chunk:
            return
        self.size += len(chunk)
        if self._is_discarded:  # Its job is being ended: nothing is held any more.
            self._parts.append(None)
            return
        self._parts.append(chunk)
        self._account(len(chunk))
        self._notify()
        await self._budget.wait_for_memory(self)

    def end(self, failure: BaseException | None = None) -> None:
        """Note that nothing follows, because of `failure` if there is one."""
        self.ended, self.failure = True, failure
        self._notify()

    async def wait_for_head(self) -> ResponseHead | None:
        """Wait until the answer begins; None when it ended without one."""
        while self.head is None and not self.ended:
            await self._wait_for_change()
        return self.head

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Read from the beginning; raises `BrokenOffError`. To be closed by whoever stops early."""
        reader, index = object(), 0
        self._positions[id(reader)] = 0
        self._budget.readers += 1
        try:
            if self._start_dropped:
                raise RecordingTruncated
            while True:
                while index < len(self._parts):
                    part = self._parts[index]
                    if part is None:
                        raise RecordingTruncated
                    index += 1
                    self._positions[id(reader)] = index
                    self._budget.notify_freed()
                    async for chunk in self._read_part(part):
                        yield chunk
                        del chunk
                    del part  # It may be moved to disk while the next is waited for.
                if self.ended:
                    break
                await self._wait_for_change()
            if self.failure is not None:
                raise RecordingTruncated
        finally:
            del self._positions[id(reader)]
            self._budget.readers -= 1
            self._budget.notify_freed()

    async def spill(self) -> None:
        """Move what is in memory into the file, as far as the disk has room; raises `OSError`.

        It goes on to its end even if cancelled: a thread that writes cannot be stopped.
        """
        if failure := await asyncio.shield(self._spill()):
            raise failure

    async def _spill(self) -> OSError | None:
        """Move; gives the failure, which nobody may be left to be told of."""
        async with self._spill_lock:
            parts = self._parts_fitting(self._budget.free_disk_bytes)
            if not parts:
                return None
            chunks = [part for _, part in parts]
            offset, size = self.bytes_on_disk, sum(map(len, chunks))
            self._has_file = True
            # Counted before it is written: the disk never holds more than the shelf knows of.
            self._account(0, size)
            try:
                await asyncio.to_thread(_write_at, Path(self._file), offset, chunks)
            except OSError as error:
                if not self._is_discarded:
                    self._account(0, -size)
                return error
            finally:
                if self._is_discarded:
                    self._delete_file()
            self._mark_spilled(parts, offset)
            return None

    def _mark_spilled(self, parts: list[tuple[int, bytes]], offset: int) -> None:
        """Put in the place of what now lies in the file, from `at` on, where that is.

        What follows on what was moved before becomes one part with it, and leaves nothings: a tape
        on disk takes no more memory for having been written in many pieces.
        """
        for i, part in parts:
            if self._parts[i] is part:  # It may have been given up meanwhile.
                last = self._parts[self._last_spilled]
                if isinstance(last, _DiskPart) and self._extends(last, i, offset):
                    grown = _DiskPart(last.offset, last.size + len(part), last.parts + 1)
                    self._parts[self._last_spilled] = grown
                    self._parts[i] = b""
                else:
                    self._parts[i], self._last_spilled = _DiskPart(offset, len(part)), i
                self._account(-len(part))
            offset += len(part)

    def _extends(self, last: _DiskPart, index: int, offset: int) -> bool:
        """Tell whether part `i`, in the file from `at` on, follows on the last that was moved.

        Not where somebody has read that one, and would go on behind it.
        """
        first = self._last_spilled
        adjacent = (first + last.parts, last.offset + last.size) == (index, offset)
        return adjacent and not any(first < read <= index for read in self._positions.values())

    def _parts_fitting(self, free: int) -> list[tuple[int, bytes]]:
        """Give the parts in memory, and where they stand, up to a number of bytes."""
        fitting = []
        for i, part in enumerate(self._parts):
            if part and isinstance(part, bytes):
                free -= len(part)
                if free < 0:
                    break
                fitting.append((i, part))
        return fitting

    def drop_consumed(self) -> int:
        """Give up what all who listen have read already; nobody can join after that."""
        freed, read = 0, min(self._positions.values(), default=0)
        for i in range(self._read_by_all, read):
            part = self._parts[i]
            if part and isinstance(part, bytes):
                freed += len(part)
                self._parts[i] = None
                self._start_dropped = True
        self._read_by_all = max(self._read_by_all, read)
        self._account(-freed)
        return freed

    def discard(self) -> None:
        """Give up everything, and what is still written."""
        self._is_discarded = True
        self._start_dropped = self._start_dropped or bool(self._parts)
        self._parts = [None] * len(self._parts)
        self._account(-self.bytes_in_memory, -self.bytes_on_disk)
        if not self._spill_lock.locked():  # Else it goes when the thread has written.
            self._delete_file()

    def restore(self, status: int, headers: Mapping[str, str], size: int) -> None:
        """Take over what an earlier process left in the file."""
        self.begin(status, headers)
        self._parts = [_DiskPart(0, size)] if size else []
        self._has_file = True
        self.size = size
        self._account(0, size)
        self.end()

    @property
    def _read_size(self) -> int:
        """Bytes that one reads in one go now: they lie in memory until its client takes them."""
        return max(_MIN_READ, min(_MAX_READ, _READ_AHEAD_BYTES // self._budget.readers))

    async def _read_part(self, part: bytes | _DiskPart) -> AsyncIterator[bytes]:
        if isinstance(part, bytes):
            if part:
                yield part
            return
        start, end = part.offset, part.offset + part.size
        while start < end:
            size = min(self._read_size, end - start)
            try:
                chunk = await asyncio.to_thread(_read_at, Path(self._file), start, size)
            except OSError:
                raise RecordingTruncated from None
            if len(chunk) != size:
                raise RecordingTruncated
            yield chunk
            del chunk
            start += size

    def _account(self, memory: int, disk: int = 0) -> None:
        """Count what is held more, or less, here and on the shelf."""
        self.bytes_in_memory += memory
        self.bytes_on_disk += disk
        self._budget.bytes_in_memory += memory
        self._budget.bytes_on_disk += disk

    def _delete_file(self) -> None:
        if self._has_file:
            with suppress(OSError):
                Path(self._file).unlink()

    async def _wait_for_change(self) -> None:
        """Wait until something is told."""
        changed = asyncio.get_running_loop().create_future()
        self._waiters.append(changed)
        try:
            await changed
        finally:
            self._waiters.remove(changed)

    def _notify(self) -> None:
        for changed in self._waiters:
            if not changed.done():
                changed.set_result(None)


def _write_at(file: Path, offset: int, chunks: list[bytes]) -> None:
    ensure_private_dir(file.parent)
    # Not truncated: what lies before is read at the same time.
    opened = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(opened, "wb") as out:
        out.seek(offset)
        out.writelines(chunks)


def _read_at(file: Path, offset: int, size: int) -> bytes:
    with file.open("rb") as source:
        source.seek(offset)
        return source.read(size)
