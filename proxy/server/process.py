"""Disables core dumps: the memory of a gateway process holds every key."""

from __future__ import annotations

import resource


def forbid_core_dumps() -> None:
    """Disable core dumps of this process and of those that it starts from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # Not 0: Linux passes a dump to a program in core_pattern whatever the limit, except for a
    # limit of 1 byte, which is too small for a file as well.
    soft = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
