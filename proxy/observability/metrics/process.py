"""The standard process metrics of Prometheus clients.

Read from Linux' `/proc`; on other systems a value that cannot be read is 0.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_PROC = Path("/proc/self")
_START_TIME_FIELD, _RESIDENT_FIELD = 19, 1
"""Indexes of fields in `stat`, after the program's name, and in `statm`."""


def cpu_seconds() -> float:
    """Return the CPU time used, user and system, in seconds."""
    return time.process_time()


def resident_bytes() -> float:
    """Return the resident memory in bytes, 0 if unknown."""
    try:
        pages = int((_PROC / "statm").read_text(encoding="ascii").split()[_RESIDENT_FIELD])
    except OSError:
        return 0.0
    return float(pages * resource.getpagesize())


def open_fds() -> float:
    """Return the number of open file descriptors, 0 if unknown."""
    try:
        return float(len(os.listdir(_PROC / "fd")))  # noqa: PTH208 - names only
    except OSError:
        return 0.0


def max_fds() -> float:
    """Return the limit of open file descriptors."""
    return float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def start_time() -> float:
    """Return the Unix time at which the process started, 0 if unknown."""
    try:
        fields = (_PROC / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = int(fields[_START_TIME_FIELD]) / os.sysconf("SC_CLK_TCK")
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return 0.0
    return time.time() - since_boot + ticks
