"""Checks of values that an operator or a client wrote.

Each raises a `ValueError` whose message begins with the key in backquotes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


def check_range(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Raise `ValueError` unless `low` <= value <= `high`; `unit` is appended to the message."""
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be {low} to {high}{unit}")


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise `ValueError` unless a value is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of: {', '.join(choices)}")


def check_statuses(name: str, statuses: Iterable[int] | None) -> None:
    """Raise `ValueError` unless all values are HTTP status codes."""
    for status in statuses or ():
        if not 100 <= status <= 599:  # noqa: PLR2004 - HTTP's first and last
            raise ValueError(f"`{name}` must hold HTTP statuses, 100 to 599")
