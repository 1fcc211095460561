"""Keeps a folder of blobs within its lifetime and its bound; a bucket has lifecycle rules."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from proxy.blobs.urls import NAME, OWNER

_LOG = logging.getLogger("easel")

_EVERY_SECONDS = 300.0
_GRACE_SECONDS = 600.0
"""How long a blob outlives its URL: an answer that has begun may still be read to its end."""
_LOW_WATER = 0.9
"""How full the folder is left once it was too full, so that not each picture costs a sweep."""

CACHE = "cache"
"""The folder, or the beginning of a name in a bucket, below which caches lie."""
PARKED = "parked"
"""The folder, or the beginning of a name in a bucket, below which finished answers wait."""
_DEAD_SECONDS = 1800.0
"""How long a folder lies untouched until its process is taken to be gone: several sweeps."""
_PROCESS = re.compile(r"[0-9a-f]{16}")
# Also what an upload that broke off has left: the store writes to NAME#1 and renames.
_OURS = re.compile(rf"({OWNER.pattern}/{NAME.pattern}|{PARKED}/[0-9a-f]{{32}})(#\d+)?")
_CACHED = re.compile(r"([0-9a-f]{64}|new-[0-9a-f]{32})(#\d+)?")


class Sweeper:
    """Deletes what is too old, and the oldest once more than `limit` bytes are held.

    Nothing in the folder is touched that does not have a blob's name, or a parked answer's; those
    are deleted once they have waited for `parked` seconds.
    """

    def __init__(
        self,
        folder: Path,
        lifetime: float,
        limit: int,
        clock: Callable[[], float] = time.time,
        *,
        parked: float = 0.0,
    ) -> None:
        self.folder = folder
        self.held = 0
        self._lifetimes = lifetime + _GRACE_SECONDS, parked + _GRACE_SECONDS
        self._limit = limit
        self._clock = clock
        self._full = asyncio.Event()

    def added(self, size: int) -> None:
        """Count a new blob; the one that is too much starts a sweep."""
        self.held += size
        if self.held > self._limit:
            self._full.set()

    async def run(self, *caches: str) -> None:
        """Sweep now, every few minutes, and whenever the folder is full.

        `caches` are the folders below in which this process's cache lies: they are left alone, and
        what the caches of other processes left behind is not.
        """
        while True:
            self._full.clear()
            # What comes during the sweep is counted on top of what the sweep finds.
            self.held = 0
            try:
                found = await asyncio.to_thread(self.sweep)
                self.held += found
                await asyncio.to_thread(clear_others, self.folder, caches, self._clock())
            except OSError as error:
                _LOG.error("could not sweep the blobs' folder: %s", error.strerror)  # noqa: TRY400 - no traceback needed
            try:
                async with asyncio.timeout(_EVERY_SECONDS):
                    await self._full.wait()
            except TimeoutError:
                continue

    def sweep(self) -> int:
        """Delete what has to go; gives the bytes that are left. It blocks: call it in a thread."""
        now, (lifetime, parked) = self._clock(), self._lifetimes
        held = 0
        kept = []
        for written, size, path in sorted(self._found()):
            if now - written > (parked if path.parent.name == PARKED else lifetime):
                path.unlink(missing_ok=True)
            else:
                kept.append((size, path))
                held += size
        if held <= self._limit:
            return held
        for size, path in kept:
            path.unlink(missing_ok=True)
            held -= size
            if held <= self._limit * _LOW_WATER:
                break
        return held

    def _found(self) -> Iterator[tuple[float, int, Path]]:
        """Give time, size and path of each blob."""
        for path in self.folder.glob("*/*"):
            if not _OURS.fullmatch(path.relative_to(self.folder).as_posix()):
                continue
            try:
                about = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(about.st_mode):
                # Several places of one picture share its bytes.
                yield about.st_mtime, about.st_size // max(about.st_nlink, 1), path


def clear_others(blobs: Path, own: Sequence[str], now: float) -> None:
    """Delete what processes left that are gone, and mark one's own. It blocks."""
    mine = [blobs / it for it in own if it]
    for folder in mine:
        if folder.is_dir():
            os.utime(folder, (now, now))
    for folder in (blobs / CACHE).glob("*"):
        about = folder.lstat()
        dead = folder not in mine and about.st_mtime < now - _DEAD_SECONDS
        if dead and _PROCESS.fullmatch(folder.name) and stat.S_ISDIR(about.st_mode):
            clear(folder)


def clear(folder: Path) -> None:
    """Delete the cache's files in a folder, and the folder if nothing else is in it. It blocks."""
    for path in folder.glob("*"):
        if _CACHED.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
