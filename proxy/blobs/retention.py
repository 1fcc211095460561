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

from proxy.blobs.urls import BLOB_NAME, OWNER_FOLDER

_LOG = logging.getLogger("easel")

_SWEEP_SECONDS = 300.0
_GRACE_SECONDS = 600.0
"""How long a blob outlives its URL: an answer that has begun may still be read to its end."""
_LOW_WATER = 0.9
"""How full the folder is left once it was too full, so that not each picture costs a sweep."""

CACHE_PREFIX = "cache"
"""The folder, or the beginning of a name in a bucket, below which caches lie."""
RESULTS_PREFIX = "parked"
"""The folder, or the beginning of a name in a bucket, below which finished answers wait."""
_DEAD_AFTER_SECONDS = 1800.0
"""How long a folder lies untouched until its process is taken to be gone: several sweeps."""
_PROCESS_FOLDER = re.compile(r"[0-9a-f]{16}")
# Also what an upload that broke off has left: the store writes to NAME#1 and renames.
_BLOB_FILE = re.compile(
    rf"({OWNER_FOLDER.pattern}/{BLOB_NAME.pattern}|{RESULTS_PREFIX}/[0-9a-f]{{32}})(#\d+)?"
)
_CACHE_FILE = re.compile(r"([0-9a-f]{64}|new-[0-9a-f]{32})(#\d+)?")


class RetentionSweeper:
    """Deletes what is too old, and the oldest once more than `limit` bytes are held.

    Nothing in the folder is touched that does not have a blob's name, or a parked answer's; those
    are deleted once they have waited for `parked` seconds.
    """

    def __init__(
        self,
        folder: Path,
        blob_ttl: float,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
        *,
        result_ttl: float = 0.0,
    ) -> None:
        self.folder = folder
        self.bytes_held = 0
        self._ttls = blob_ttl + _GRACE_SECONDS, result_ttl + _GRACE_SECONDS
        self._max_bytes = max_bytes
        self._clock = clock
        self._full = asyncio.Event()

    def account(self, size: int) -> None:
        """Count a new blob; the one that is too much starts a sweep."""
        self.bytes_held += size
        if self.bytes_held > self._max_bytes:
            self._full.set()

    async def run(self, *caches: str) -> None:
        """Sweep now, every few minutes, and whenever the folder is full.

        `caches` are the folders below in which this process's cache lies: they are left alone, and
        what the caches of other processes left behind is not.
        """
        while True:
            self._full.clear()
            # What comes during the sweep is counted on top of what the sweep finds.
            self.bytes_held = 0
            try:
                bytes_left = await asyncio.to_thread(self.sweep)
                self.bytes_held += bytes_left
                await asyncio.to_thread(remove_dead_processes, self.folder, caches, self._clock())
            except OSError as error:
                _LOG.error("could not sweep the blobs' folder: %s", error.strerror)  # noqa: TRY400 - no traceback needed
            try:
                async with asyncio.timeout(_SWEEP_SECONDS):
                    await self._full.wait()
            except TimeoutError:
                continue

    def sweep(self) -> int:
        """Delete what has to go; gives the bytes that are left. It blocks: call it in a thread."""
        now, (blob_ttl, result_ttl) = self._clock(), self._ttls
        total = 0
        remaining = []
        for modified, size, path in sorted(self._blob_files()):
            if now - modified > (result_ttl if path.parent.name == RESULTS_PREFIX else blob_ttl):
                path.unlink(missing_ok=True)
            else:
                remaining.append((size, path))
                total += size
        if total <= self._max_bytes:
            return total
        for size, path in remaining:
            path.unlink(missing_ok=True)
            total -= size
            if total <= self._max_bytes * _LOW_WATER:
                break
        return total

    def _blob_files(self) -> Iterator[tuple[float, int, Path]]:
        """Give time, size and path of each blob."""
        for path in self.folder.glob("*/*"):
            if not _BLOB_FILE.fullmatch(path.relative_to(self.folder).as_posix()):
                continue
            try:
                info = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(info.st_mode):
                # Several places of one picture share its bytes.
                yield info.st_mtime, info.st_size // max(info.st_nlink, 1), path


def remove_dead_processes(folder: Path, own_caches: Sequence[str], now: float) -> None:
    """Delete what processes left that are gone, and mark one's own. It blocks."""
    own_folders = [folder / it for it in own_caches if it]
    for folder in own_folders:
        if folder.is_dir():
            os.utime(folder, (now, now))
    for folder in (folder / CACHE_PREFIX).glob("*"):
        about = folder.lstat()
        dead = folder not in own_folders and about.st_mtime < now - _DEAD_AFTER_SECONDS
        if dead and _PROCESS_FOLDER.fullmatch(folder.name) and stat.S_ISDIR(about.st_mode):
            remove_cache_folder(folder)


def remove_cache_folder(folder: Path) -> None:
    """Delete the cache's files in a folder, and the folder if nothing else is in it. It blocks."""
    for path in folder.glob("*"):
        if _CACHE_FILE.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
