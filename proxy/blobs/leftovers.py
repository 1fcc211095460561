"""The cache's part of a folder of blobs: one folder below `cache` for each process.

A process deletes its own when it ends. What one that was killed left behind is deleted by the next
that sweeps, once nobody has touched it for a while; a living process touches its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

CACHE = "cache"
"""The folder, or the beginning of a name in a bucket, below which caches lie."""

PARKED = "parked"
"""The folder, or the beginning of a name in a bucket, below which finished answers wait."""
_DEAD_SECONDS = 1800.0
"""How long a folder lies untouched until its process is taken to be gone: several sweeps."""
_PROCESS = re.compile(r"[0-9a-f]{16}")
# Also what an upload that broke off has left: the store writes to NAME#1 and renames.
_OURS = re.compile(r"([0-9a-f]{64}|new-[0-9a-f]{32})(#\d+)?")


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
        if _OURS.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
