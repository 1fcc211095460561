"""How late the event loop is: a timer that looks when it comes."""

from __future__ import annotations

import asyncio

_INTERVAL_SECONDS = 0.5
_SLOTS = 30
"""How many lags are remembered: those of 15 seconds, a usual time between two scrapes."""


class LoopLag:
    """The longest that the loop was late of late, from `start` to `stop`."""

    def __init__(self) -> None:
        self._lags = [0.0] * _SLOTS
        self._next_slot = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """The longest of the last 15 seconds."""
        return max(self._lags)

    def start(self) -> None:
        """Look, from a running loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(
            _INTERVAL_SECONDS, self._measure, loop.time() + _INTERVAL_SECONDS
        )

    def stop(self) -> None:
        """Look no longer."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _measure(self, due: float) -> None:
        # A timer may come a little early, by the clock's own grain.
        self._lags[self._next_slot] = max(0.0, asyncio.get_running_loop().time() - due)
        self._next_slot = (self._next_slot + 1) % _SLOTS
        self.start()
