"""How late the event loop is: a timer that looks when it comes."""

from __future__ import annotations

import asyncio

_EVERY_SECONDS = 0.5
_SLOTS = 30
"""How many lags are remembered: those of 15 seconds, a usual time between two scrapes."""


class Lag:
    """The longest that the loop was late of late, from `start` to `stop`."""

    def __init__(self) -> None:
        self._late = [0.0] * _SLOTS
        self._at = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """The longest of the last 15 seconds."""
        return max(self._late)

    def start(self) -> None:
        """Look, from a running loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_EVERY_SECONDS, self._look, loop.time() + _EVERY_SECONDS)

    def stop(self) -> None:
        """Look no longer."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _look(self, due: float) -> None:
        # A timer may come a little early, by the clock's own grain.
        self._late[self._at] = max(0.0, asyncio.get_running_loop().time() - due)
        self._at = (self._at + 1) % _SLOTS
        self.start()
