"""How many workers there are to be."""

from __future__ import annotations

import math
import os
from pathlib import Path

from proxy.settings.schema import AUTO, MOST_WORKERS

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container may use of the machine's cores, in cgroups of version 2."""


def count(workers: int | str) -> int:
    """Give a number of workers; `auto` is one for each core that this process may use."""
    return min(cores(), MOST_WORKERS) if workers == AUTO else int(workers)


def cores(quota: Path = _QUOTA) -> int:
    """Count the cores that this process may use: by its affinity, and by its container's quota."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # Not on Linux.
        found = os.cpu_count() or 1
    try:
        share, period = quota.read_text(encoding="ascii").split()
        return max(1, min(found, math.ceil(int(share) / int(period))))
    except (OSError, ValueError):  # "max": no quota.
        return found
