"""Forbids a process to leave an image of its memory behind: it holds every key."""

from __future__ import annotations

import resource


def forbid_core_dumps() -> None:
    """Leave none, should this process crash, or one that it starts from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # Not 0: whatever that is, Linux hands a dump to the program that core_pattern names, except
    # for a limit of 1 byte, which is too little for a file as well.
    soft = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
