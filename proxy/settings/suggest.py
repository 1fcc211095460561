"""Suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Collection

_MAX_COMPARED = 1000
"""The limit on known names: comparing each takes microseconds, at any client's request."""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a suggestion of the closest known name, "" if none is close or too many are known.

    >>> did_you_mean("virtual_keey", {"virtual_key", "cache"})
    '; did you mean virtual_key?'
    """
    if len(known) > _MAX_COMPARED:
        return ""
    import difflib  # noqa: PLC0415 - needed for misspelled names only

    spelled = {word.lower(): word for word in sorted(known)}
    found = difflib.get_close_matches(name.lower()[:64], spelled, n=1)
    return f"; did you mean {spelled[found[0]]}?" if found else ""
