"""Reads the lines of a file, and goes on with what is written to it later.

A file of that name that has been put in place of the first one is read next, from its beginning,
once the first is read to its end; one that was cut short is read from its beginning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

_PIECE = 64 * 1024
_RECENT = 64 * 1024
"""Bytes at the end of a file with which following it begins."""
_LONGEST = 1024 * 1024
"""Bytes of a line; what is longer is no access line, and is left out."""
_LOOK_AGAIN_SECONDS = 0.2


def lines_of(file: BinaryIO) -> Iterator[str]:
    """Give the lines of what is open, to its end; the last one may lack a line break."""
    pending = _Pending()
    while piece := file.read1(_PIECE) if hasattr(file, "read1") else file.read(_PIECE):
        yield from pending.lines(piece)
    yield from pending.lines(b"\n" if pending.has_begun else b"")


def followed(path: str, wait: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """Give the last lines of a file and all that follow, for ever; it need not be there yet."""
    is_first = True
    while True:
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - as below, by its name
                yield from _to_its_end(path, file, wait, recent=is_first)
        except FileNotFoundError:
            wait(_LOOK_AGAIN_SECONDS)
        is_first = False


def _to_its_end(
    path: str, file: BinaryIO, wait: Callable[[float], None], *, recent: bool
) -> Iterator[str]:
    """Give the lines of a file until another one has its name, and it has been read."""
    pending = _Pending()
    size = os.fstat(file.fileno()).st_size
    if recent and size > _RECENT:
        file.seek(size - _RECENT)
        file.readline()
    while True:
        # Asked before reading: what is read after that is all that there will be.
        is_over = not _is_still(path, file)
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)
            pending = _Pending()
        while piece := file.read(_PIECE):
            yield from pending.lines(piece)
        if is_over:
            return
        wait(_LOOK_AGAIN_SECONDS)


def _is_still(path: str, file: BinaryIO) -> bool:
    ours = os.fstat(file.fileno())
    try:
        there = os.stat(path)  # noqa: PTH116 - beside fstat
    except FileNotFoundError:
        return True  # It has been moved; until another one is there, more may come.
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


class _Pending:
    """Makes lines of pieces; the beginning of a line waits for its end."""

    def __init__(self) -> None:
        self._begun = b""
        self._is_too_long = False

    @property
    def has_begun(self) -> bool:
        """Whether a line waits for its end."""
        return bool(self._begun)

    def lines(self, piece: bytes) -> Iterator[str]:
        """Give the lines that end in a piece."""
        *ended, begun = (self._begun + piece).split(b"\n")
        for line in ended:
            if not self._is_too_long:
                yield line.decode(errors="replace")
            self._is_too_long = False
        if len(begun) > _LONGEST:
            self._is_too_long, begun = True, b""
        self._begun = begun
