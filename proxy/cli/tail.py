"""Reads the lines of a file, and goes on with what is written to it later.

A file of that name that has been put in place of the first one is read next, from its beginning,
once the first is read to its end; one that was cut short is read from its beginning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

_CHUNK_BYTES = 64 * 1024
_TAIL_BYTES = 64 * 1024
"""Bytes at the end of a file with which following it begins."""
_MAX_LINE_BYTES = 1024 * 1024
"""Bytes of a line; what is longer is no access line, and is left out."""
_POLL_SECONDS = 0.2


def read_lines(file: BinaryIO) -> Iterator[str]:
    """Give the lines of what is open, to its end; the last one may lack a line break."""
    pending = _LineBuffer()
    while piece := file.read1(_CHUNK_BYTES) if hasattr(file, "read1") else file.read(_CHUNK_BYTES):
        yield from pending.feed(piece)
    yield from pending.feed(b"\n" if pending.has_partial_line else b"")


def tail(path: str, wait: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """Give the last lines of a file and all that follow, for ever; it need not be there yet."""
    is_first = True
    while True:
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - as below, by its name
                yield from _read_until_replaced(path, file, wait, recent=is_first)
        except FileNotFoundError:
            wait(_POLL_SECONDS)
        is_first = False


def _read_until_replaced(
    path: str, file: BinaryIO, wait: Callable[[float], None], *, recent: bool
) -> Iterator[str]:
    """Give the lines of a file until another one has its name, and it has been read."""
    pending = _LineBuffer()
    size = os.fstat(file.fileno()).st_size
    if recent and size > _TAIL_BYTES:
        file.seek(size - _TAIL_BYTES)
        file.readline()
    while True:
        # Asked before reading: what is read after that is all that there will be.
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
        there = os.stat(path)  # noqa: PTH116 - beside fstat
    except FileNotFoundError:
        return True  # It has been moved; until another one is there, more may come.
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


class _LineBuffer:
    """Makes lines of pieces; the beginning of a line waits for its end."""

    def __init__(self) -> None:
        self._partial = b""
        self._is_too_long = False

    @property
    def has_partial_line(self) -> bool:
        """Whether a line waits for its end."""
        return bool(self._partial)

    def feed(self, piece: bytes) -> Iterator[str]:
        """Give the lines that end in a piece."""
        *ended, begun = (self._partial + piece).split(b"\n")
        for line in ended:
            if not self._is_too_long:
                yield line.decode(errors="replace")
            self._is_too_long = False
        if len(begun) > _MAX_LINE_BYTES:
            self._is_too_long, begun = True, b""
        self._partial = begun
