"""How a worker ended, in words, and how long it takes until the next one begins."""

from __future__ import annotations

import signal

_FIRST, _MOST = 1.0, 30.0
_LONG = 60.0
"""Seconds that a worker has lived after which the next one is not held up for the ones before."""


class Backoff:
    """Seconds until a worker is started again: 1, 2, 4 up to 30; 1 after one that lived long."""

    def __init__(self) -> None:
        self._next = _FIRST

    def after(self, lived: float) -> float:
        """Give how long to wait after a worker that lived so many seconds."""
        pause = _FIRST if lived >= _LONG else self._next
        self._next = min(2 * pause, _MOST)
        return pause


def ending(status: int) -> str:
    """Say how a process ended.

    >>> ending(1), ending(-9)
    ('ended with status 1', 'was ended by SIGKILL')
    """
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
