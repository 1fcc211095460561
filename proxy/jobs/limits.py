"""How many jobs may run at once: in all, and of one caller."""

from __future__ import annotations

from proxy.errors import Overloaded


class ConcurrencyLimit:
    """Counts the jobs that run: at most `most` in all, `each` of one caller."""

    def __init__(self, total: int, per_caller: int) -> None:
        self._total = total
        self._per_caller = per_caller
        self._running = 0
        self._by_caller: dict[str, int] = {}

    def acquire(self, caller: str) -> None:
        """Count one more; raises `Overloaded` where there is no room for it."""
        own = self._by_caller.get(caller, 0)
        if own >= self._per_caller:
            raise Overloaded(
                f"{own} pictures are being made for this gateway key, the most at once "
                "(`limits.caller_jobs`). Ask again once one of them is done."
            )
        if self._running >= self._total:
            raise Overloaded(
                f"{self._running} pictures are being made, the most at once (`limits.jobs`). "
                "Ask again in a while."
            )
        self._running += 1
        self._by_caller[caller] = own + 1

    def release(self, caller: str) -> None:
        """Count one less."""
        self._running -= 1
        if left := self._by_caller.pop(caller) - 1:
            self._by_caller[caller] = left
