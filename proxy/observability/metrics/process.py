"""What Prometheus' own clients tell of a process: under the names that they use.

Read where the system has it, from Linux' `/proc`; elsewhere what there is.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_PROC = Path("/proc/self")
_START_TIME_FIELD, _RESIDENT_FIELD = 19, 1
"""Places of fields in `stat`, behind the name of the program, and in `statm`."""


def cpu_seconds() -> float:
    """Give the processor time that was used, of the user's and the system's kind."""
    return time.process_time()


def resident_bytes() -> float:
    """Give the memory that is resident now; 0 where the system does not tell."""
    try:
        pages = int((_PROC / "statm").read_text(encoding="ascii").split()[_RESIDENT_FIELD])
    except OSError:
        return 0.0
    return float(pages * resource.getpagesize())


def open_fds() -> float:
    """Give how many files and sockets are open; 0 where the system does not tell."""
    try:
        return float(len(os.listdir(_PROC / "fd")))  # noqa: PTH208 - names only
    except OSError:
        return 0.0


def max_fds() -> float:
    """Give how many may be open."""
    return float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def start_time() -> float:
    """Give when the process was started, in seconds since the epoch; 0 where nobody tells."""
    try:
        fields = (_PROC / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = int(fields[_START_TIME_FIELD]) / os.sysconf("SC_CLK_TCK")
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return 0.0
    return time.time() - since_boot + ticks
