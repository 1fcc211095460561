"""What somebody may have meant: the nearest known name to one that is unknown."""

from __future__ import annotations

from collections.abc import Collection

_MAX_COMPARED = 1000
"""Names that a wrong one is held against: each takes microseconds, for everyone who may ask."""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Give a hint at the nearest known name, "" when none is near or they are too many to compare.

    >>> nearest("virtual_keey", {"virtual_key", "cache"})
    '; did you mean virtual_key?'
    """
    if len(known) > _MAX_COMPARED:
        return ""
    import difflib  # noqa: PLC0415 - only what is misspelled needs it

    spelled = {word.lower(): word for word in sorted(known)}
    found = difflib.get_close_matches(name.lower()[:64], spelled, n=1)
    return f"; did you mean {spelled[found[0]]}?" if found else ""
