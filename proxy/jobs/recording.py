"""The recorded response of one job: written once, read by any number of clients.

What is promised:

- Each reader begins at the first byte, whenever it joins, and reads at its own pace.
- A reader has a prefix of what was written, and at a good end exactly that. If the response is
  incomplete, or its start was dropped, it gets `RecordingTruncated`; never silently less. A failed
  event stream whose last event reports the failure is read to its end.
- Chunks stay in memory until the budget spills them to the recording's file. Reads do not notice.
- Memory and disk are counted in the budget, before they are used on disk. `append` waits while
  the budget is exceeded and this recording's own readers are behind; see `budget`.
- Headers, the failure and the slots of small chunks are counted, too: `overhead`.
- Once the start was dropped or discarded, no reader can join.
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

from adapters.errors import ImageError, ProviderError
from proxy.http.headers import header_size
from proxy.settings.state_dir import ensure_private_dir

_READ_AHEAD_BYTES = 48 * 1024 * 1024
"""Bytes of concurrent disk reads, shared by all readers."""
_MIN_READ, _MAX_READ = 32 * 1024, 256 * 1024
"""Bounds of one reader's share, in bytes."""
_USUAL_BYTES, _USUAL_PARTS = 2048, 16
"""Bytes of headers, or of a failure, and number of parts that `BYTES_PER_JOB` includes."""
_PART_BYTES, _SLOT_BYTES = 72, 8
"""Bytes that a part takes in memory besides its data, and those that remain when it is gone."""
_SHORT_BYTES = 32 * 1024
"""Largest body that is sent in one write: any connection buffers that much."""


class Budget(Protocol):
    """The memory and disk that all recordings share, in bytes; `readers` counts open readers."""

    bytes_in_memory: int
    bytes_on_disk: int
    overhead_bytes: int
    readers: int

    def count_overhead(self, more: int) -> None:
        """Count bytes in memory that belong to no body, such as headers."""

    @property
    def free_disk_bytes(self) -> int:
        """Bytes that may still be written to disk."""

    def notify_freed(self) -> None:
        """Wake waiting writers, because something was read or evicted."""

    async def wait_for_memory(self, recording: Recording) -> None:
        """Wait until the budget has memory for what was written to a recording."""


class RecordingTruncated(Exception):
    """The response ended early, or the start of its recording was dropped."""


class ResponseHead(msgspec.Struct, frozen=True):
    """Status and headers of a response."""

    status: int
    headers: CIMultiDict[str]


@dataclass(frozen=True, slots=True)
class _DiskPart:
    """`parts` adjacent parts of a recording, `size` bytes from `offset` of its file."""

    offset: int
    size: int
    parts: int = 1


class Recording:
    """One response: head, then chunks, then the end.

    `failure` is the exception that ended it, None after a good end. `size` is the number of body
    bytes written so far. Parts are in memory, or in `file` once `spill` has written them there.
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
        "overhead",
        "size",
    )

    def __init__(self, budget: Budget, file: Path | str) -> None:
        self.head: ResponseHead | None = None
        self.failure: BaseException | None = None
        self.ended = False
        self.size = 0
        self.bytes_in_memory = 0
        self.bytes_on_disk = 0
        self.overhead = 0
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
        """Whether a new reader can read it from the first byte."""
        return not self._start_dropped

    @property
    def bytes_held(self) -> int:
        """Bytes in memory and on disk."""
        return self.bytes_in_memory + self.bytes_on_disk

    @property
    def reader_count(self) -> int:
        """Number of open readers."""
        return len(self._positions)

    @property
    def short_body(self) -> bytes | None:
        """The whole body, if it ended well, is short and in memory; else None."""
        if (
            self.failure is None
            and self.ended
            and 0 < self.size == self.bytes_in_memory <= _SHORT_BYTES
        ):
            return b"".join([part for part in self._parts if isinstance(part, bytes)])
        return None

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Record status and headers."""
        self.head = ResponseHead(status, CIMultiDict(headers))
        size = sum(header_size(name, value) for name, value in headers.items())
        self.add_overhead(max(0, size - _USUAL_BYTES))
        self._notify()

    async def append(self, chunk: bytes) -> None:
        """Record a chunk (the object itself, no copy); wait while the budget is exceeded."""
        if not chunk:
            return
        self.size += len(chunk)
        if self._is_discarded:  # The job is being cancelled: nothing is stored any more.
            self._parts.append(None)
            return
        self._parts.append(chunk)
        self._account(len(chunk))
        if len(self._parts) > _USUAL_PARTS:
            self._account_overhead(_PART_BYTES)
        self._notify()
        await self._budget.wait_for_memory(self)

    def end(self, failure: BaseException | None = None) -> None:
        """End the recording, with the failure that cut it short, if any."""
        self.ended, self.failure = True, failure
        self._notify()
        if failure is not None:
            self.add_overhead(max(0, _failure_size(failure) - _USUAL_BYTES))

    def add_overhead(self, more: int) -> None:
        """Count bytes that the job holds in memory in addition to the body."""
        if not self._is_discarded:
            self.overhead += more
            self._budget.count_overhead(more)

    def _account_overhead(self, more: int) -> None:
        """Count the same without evicting anything for it: the writer waits for memory anyway."""
        self.overhead += more
        self._budget.bytes_in_memory += more
        self._budget.overhead_bytes += more

    async def wait_for_head(self) -> ResponseHead | None:
        """Wait until the response starts; return None if it ended without a head."""
        while self.head is None and not self.ended:
            await self._wait_for_change()
        return self.head

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body from the first byte; raise `RecordingTruncated`.

        A caller that stops early closes the generator (`aclosing`).
        """
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
                    del part  # Spilling must free it while this reader waits for the next.
                if self.ended:
                    break
                await self._wait_for_change()
            if self.failure is not None and not _is_reported(self.failure):
                raise RecordingTruncated
        finally:
            del self._positions[id(reader)]
            self._budget.readers -= 1
            self._budget.notify_freed()

    async def spill(self) -> None:
        """Write the parts in memory to the file, up to the disk limit; raise `OSError`.

        It completes even if cancelled, because a writing thread cannot be stopped.
        """
        if failure := await asyncio.shield(self._spill()):
            raise failure

    async def _spill(self) -> OSError | None:
        """Spill; return the failure, because a cancelled caller cannot receive it."""
        async with self._spill_lock:
            parts = self._parts_fitting(self._budget.free_disk_bytes)
            if not parts:
                return None
            chunks = [part for _, part in parts]
            offset, size = self.bytes_on_disk, sum(map(len, chunks))
            self._has_file = True
            # Counted before it is written, so that the disk never holds more than was counted.
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
        """Replace parts that were written to the file, from `offset` on, by their location.

        Adjacent parts on disk are merged into one and their slots become empty bytes: many small
        chunks on disk take no more memory than one.
        """
        for i, part in parts:
            if self._parts[i] is part:  # Else it was dropped meanwhile.
                last = self._parts[self._last_spilled]
                if isinstance(last, _DiskPart) and self._extends(last, i, offset):
                    grown = _DiskPart(last.offset, last.size + len(part), last.parts + 1)
                    self._parts[self._last_spilled] = grown
                    self._parts[i] = b""
                else:
                    self._parts[i], self._last_spilled = _DiskPart(offset, len(part)), i
                self._account(-len(part))
                if self._parts[i] == b"" and i >= _USUAL_PARTS:
                    self._account_overhead(_SLOT_BYTES - _PART_BYTES)
            offset += len(part)

    def _extends(self, last: _DiskPart, index: int, offset: int) -> bool:
        """Whether the part at `index`, written at `offset`, can be merged into the last one.

        It cannot if a reader stands between the two: it would miss the merged part.
        """
        first = self._last_spilled
        adjacent = (first + last.parts, last.offset + last.size) == (index, offset)
        return adjacent and not any(first < read <= index for read in self._positions.values())

    def _parts_fitting(self, free: int) -> list[tuple[int, bytes]]:
        """Return the first parts in memory that fit into `free` bytes, with their indexes."""
        fitting = []
        for i, part in enumerate(self._parts):
            if part and isinstance(part, bytes):
                free -= len(part)
                if free < 0:
                    break
                fitting.append((i, part))
        return fitting

    def drop_consumed(self) -> int:
        """Drop what all readers have read, and return its bytes; no reader can join after that."""
        freed, read = 0, min(self._positions.values(), default=0)
        for i in range(self._read_by_all, read):
            part = self._parts[i]
            if part and isinstance(part, bytes):
                freed += len(part)
                self._parts[i] = None
                if i >= _USUAL_PARTS:
                    self._account_overhead(_SLOT_BYTES - _PART_BYTES)
                self._start_dropped = True
        self._read_by_all = max(self._read_by_all, read)
        self._account(-freed)
        return freed

    def discard(self) -> None:
        """Drop everything, and whatever is written later."""
        self._is_discarded = True
        self._start_dropped = self._start_dropped or bool(self._parts)
        self._parts = [None] * len(self._parts)
        self._account(-self.bytes_in_memory, -self.bytes_on_disk)
        self._account_overhead(-self.overhead)
        if not self._spill_lock.locked():  # Else `_spill` deletes it once the thread has written.
            self._delete_file()

    def restore(self, status: int, headers: Mapping[str, str], size: int) -> None:
        """Adopt the complete response of `size` bytes that an earlier process left in the file."""
        self.begin(status, headers)
        self._parts = [_DiskPart(0, size)] if size else []
        self._has_file = True
        self.size = size
        self._account(0, size)
        self.end()

    @property
    def _read_size(self) -> int:
        """Bytes of one disk read: they are in memory until the reader's client has taken them."""
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
        """Add to the counts of bytes held, here and in the budget."""
        self.bytes_in_memory += memory
        self.bytes_on_disk += disk
        self._budget.bytes_in_memory += memory
        self._budget.bytes_on_disk += disk

    def _delete_file(self) -> None:
        if self._has_file:
            with suppress(OSError):
                Path(self._file).unlink()

    async def _wait_for_change(self) -> None:
        """Wait until the head, a chunk or the end is recorded."""
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


def _is_reported(failure: BaseException) -> bool:
    """Whether the body ends with an event that reports the failure."""
    return isinstance(failure, ImageError) and failure.sent_as_event


def _failure_size(failure: BaseException) -> int:
    """Return about how many bytes a failure takes in memory."""
    if not isinstance(failure, ImageError):
        return 0
    size = sum(header_size(name, value) for name, value in failure.headers.items())
    size += 4 * (len(failure.message) + len(failure.code or "") + len(failure.param or ""))
    size += sum(4 * len(str(attempt)) for attempt in failure.attempts)
    return size + len((isinstance(failure, ProviderError) and failure.body) or b"")


def _write_at(file: Path, offset: int, chunks: list[bytes]) -> None:
    ensure_private_dir(file.parent)
    # Not truncated: readers may be reading what was written before.
    fd = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.seek(offset)
        out.writelines(chunks)


def _read_at(file: Path, offset: int, size: int) -> bytes:
    with file.open("rb") as source:
        source.seek(offset)
        return source.read(size)
