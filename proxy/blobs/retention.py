"""Retention of a folder of blobs: by age, by total size, and after dead processes.

A bucket has lifecycle rules instead. Each process has a cache folder below `cache/`, which it
deletes when it ends. The folder of a killed process is deleted by the next sweep of another, once
it has been untouched for a while; a living process touches its own.
"""

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
"""How long a blob outlives its URL, so that a download that has begun can be completed."""
_LOW_WATER = 0.9
"""Fraction of the limit to free down to, so that not every new image costs a sweep."""

CACHE_PREFIX = "cache"
"""Folder of the caches, or their prefix in a bucket."""
RESULTS_PREFIX = "results"
"""Folder of the jobs' results, or their prefix in a bucket."""
_DEAD_AFTER_SECONDS = 1800.0
"""How long a cache folder is untouched until its process counts as dead: several sweeps."""
_PROCESS_FOLDER = re.compile(r"[0-9a-f]{16}")
# With the remains of interrupted uploads: the store writes to NAME#1 and renames.
_BLOB_FILE = re.compile(
    rf"({OWNER_FOLDER.pattern}/{BLOB_NAME.pattern}|{RESULTS_PREFIX}/[0-9a-f]{{32}})(#\d+)?"
)
_CACHE_FILE = re.compile(r"([0-9a-f]{64}|new-[0-9a-f]{32})(#\d+)?")


class RetentionSweeper:
    """Deletes blobs after `blob_ttl` seconds, and the oldest if there are more than `max_bytes`.

    Results of jobs are deleted after `result_ttl` seconds. Files with other names are not touched.
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
        """Count a new blob of `size` bytes; start a sweep if it exceeds the limit."""
        self.bytes_held += size
        if self.bytes_held > self._max_bytes:
            self._full.set()

    async def run(self, *caches: str) -> None:
        """Sweep now, every five minutes, and whenever the limit is exceeded.

        `caches` are this process's cache folders, which are kept; those of dead processes are
        deleted.
        """
        while True:
            self._full.clear()
            # Blobs that are added during the sweep are counted on top of what it finds.
            self.bytes_held = 0
            try:
                bytes_left = await asyncio.to_thread(self.sweep)
                self.bytes_held += bytes_left
                await asyncio.to_thread(remove_dead_processes, self.folder, caches, self._clock())
            except OSError as error:
                _LOG.error("could not sweep the blob folder: %s", error.strerror)  # noqa: TRY400 - no traceback needed
            try:
                async with asyncio.timeout(_SWEEP_SECONDS):
                    await self._full.wait()
            except TimeoutError:
                continue

    def sweep(self) -> int:
        """Delete expired and excess blobs; return the bytes left. Blocks: call it in a thread."""
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
        """Yield modification time, size in bytes and path of each blob."""
        for path in self.folder.glob("*/*"):
            if not _BLOB_FILE.fullmatch(path.relative_to(self.folder).as_posix()):
                continue
            try:
                info = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(info.st_mode):
                # Hard links to one image share its bytes.
                yield info.st_mtime, info.st_size // max(info.st_nlink, 1), path


def remove_dead_processes(folder: Path, own_caches: Sequence[str], now: float) -> None:
    """Delete the cache folders of dead processes, and touch one's own. Blocks."""
    own_folders = [folder / it for it in own_caches if it]
    for own in own_folders:
        if own.is_dir():
            os.utime(own, (now, now))
    for cache in (folder / CACHE_PREFIX).glob("*"):
        info = cache.lstat()
        dead = cache not in own_folders and info.st_mtime < now - _DEAD_AFTER_SECONDS
        if dead and _PROCESS_FOLDER.fullmatch(cache.name) and stat.S_ISDIR(info.st_mode):
            remove_cache_folder(cache)


def remove_cache_folder(folder: Path) -> None:
    """Delete the cache files in a folder, and the folder if it is empty then. Blocks."""
    for path in folder.glob("*"):
        if _CACHE_FILE.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
