"""Reads the lines of a file and follows it, as `tail -F` does.

If the file is replaced (rotated), the old one is read to its end and the new one from its
beginning. A file that is truncated is read again from its beginning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

_CHUNK_BYTES = 64 * 1024
_TAIL_BYTES = 64 * 1024
"""Bytes at the end of the file that are read first."""
_MAX_LINE_BYTES = 1024 * 1024
"""A longer line is not an access line and is skipped."""
_POLL_SECONDS = 0.2


def read_lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines of an open file to its end; the last one may lack a line break."""
    pending = _LineBuffer()
    while piece := file.read1(_CHUNK_BYTES) if hasattr(file, "read1") else file.read(_CHUNK_BYTES):
        yield from pending.feed(piece)
    yield from pending.feed(b"\n" if pending.has_partial_line else b"")


def tail(path: str, wait: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """Yield the last lines of a file and all later ones, forever; the file may not exist yet."""
    is_first = True
    while True:
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a path as text
                yield from _read_until_replaced(path, file, wait, recent=is_first)
        except FileNotFoundError:
            wait(_POLL_SECONDS)
        is_first = False


def _read_until_replaced(
    path: str, file: BinaryIO, wait: Callable[[float], None], *, recent: bool
) -> Iterator[str]:
    """Yield the lines of a file until it has been replaced and read to its end."""
    pending = _LineBuffer()
    size = os.fstat(file.fileno()).st_size
    if recent and size > _TAIL_BYTES:
        file.seek(size - _TAIL_BYTES)
        file.readline()
    while True:
        # Checked before reading: once the file is replaced, this read is the last one.
        is_over = not _is_same_file(path, file)
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)
            pending = _LineBuffer()
        while piece := file.read(_CHUNK_BYTES):
            yield from pending.feed(piece)
        if is_over:
            return
        wait(_POLL_SECONDS)


def _is_same_file(path: str, file: BinaryIO) -> bool:
    ours = os.fstat(file.fileno())
    try:
        there = os.stat(path)  # noqa: PTH116 - like fstat
    except FileNotFoundError:
        return True  # Moved, but not replaced yet: more lines may be written.
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


class _LineBuffer:
    """Splits chunks into lines; the beginning of a line waits for its end."""

    def __init__(self) -> None:
        self._partial = b""
        self._is_too_long = False

    @property
    def has_partial_line(self) -> bool:
        """Whether the end of a line is missing."""
        return bool(self._partial)

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yield the lines that end in a chunk."""
        *ended, begun = (self._partial + piece).split(b"\n")
        for line in ended:
            if not self._is_too_long:
                yield line.decode(errors="replace")
            self._is_too_long = False
        if len(begun) > _MAX_LINE_BYTES:
            self._is_too_long, begun = True, b""
        self._partial = begun
