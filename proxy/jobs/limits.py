"""Limits on concurrent jobs: in total and per caller."""

from __future__ import annotations

from proxy.errors import Overloaded


class ConcurrencyLimit:
    """Counts running jobs: at most `total`, and `per_caller` for one caller."""

    def __init__(self, total: int, per_caller: int) -> None:
        self._total = total
        self._per_caller = per_caller
        self._running = 0
        self._by_caller: dict[str, int] = {}

    def acquire(self, caller: str) -> None:
        """Count one more job of a caller; raise `Overloaded` if a limit is reached."""
        own = self._by_caller.get(caller, 0)
        if own >= self._per_caller:
            raise Overloaded(
                f"This gateway key already has {own} images in progress, its limit "
                "(`limits.caller_jobs`). Retry when one of them is finished."
            )
        if self._running >= self._total:
            raise Overloaded(
                f"Too many images in progress: {self._running}, the limit of this gateway "
                "(`limits.jobs`). Retry later."
            )
        self._running += 1
        self._by_caller[caller] = own + 1

    def release(self, caller: str) -> None:
        """Count one job of a caller less."""
        self._running -= 1
        if own := self._by_caller.pop(caller) - 1:
            self._by_caller[caller] = own
