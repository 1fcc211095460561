"""How many jobs may run at once: in all, and of one caller."""

from __future__ import annotations

from proxy.errors import Overloaded


class Room:
    """Counts the jobs that run: at most `most` in all, `each` of one caller."""

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._taken = 0
        self._by_caller: dict[str, int] = {}

    def take(self, caller: str) -> None:
        """Count one more; raises `Overloaded` where there is no room for it."""
        own = self._by_caller.get(caller, 0)
        if own >= self._each:
            raise Overloaded(
                f"{own} pictures are being made for this gateway key, the most at once "
                "(`limits.caller_jobs`). Ask again once one of them is done."
            )
        if self._taken >= self._most:
            raise Overloaded(
                f"{self._taken} pictures are being made, the most at once (`limits.jobs`). "
                "Ask again in a while."
            )
        self._taken += 1
        self._by_caller[caller] = own + 1

    def leave(self, caller: str) -> None:
        """Count one less."""
        self._taken -= 1
        if left := self._by_caller.pop(caller) - 1:
            self._by_caller[caller] = left
