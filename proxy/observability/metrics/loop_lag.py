"""Event-loop lag, measured by a timer that compares its due time with the time it runs."""

from __future__ import annotations

import asyncio

_INTERVAL_SECONDS = 0.5
_SLOTS = 30
"""Number of measurements kept: 15 seconds, a usual scrape interval."""


class LoopLag:
    """The largest recent delay of the event loop, between `start` and `stop`."""

    def __init__(self) -> None:
        self._lags = [0.0] * _SLOTS
        self._next_slot = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """The largest delay of the last 15 seconds."""
        return max(self._lags)

    def start(self) -> None:
        """Schedule the next measurement. Needs a running loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(
            _INTERVAL_SECONDS, self._measure, loop.time() + _INTERVAL_SECONDS
        )

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _measure(self, due: float) -> None:
        # A timer can run slightly early, by the clock's resolution.
        self._lags[self._next_slot] = max(0.0, asyncio.get_running_loop().time() - due)
        self._next_slot = (self._next_slot + 1) % _SLOTS
        self.start()
