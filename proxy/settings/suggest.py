"""Suggestions for misspelled names."""

from __future__ import annotations

import re
from collections.abc import Collection

_MAX_COMPARED = 1000
"""The limit on known names: comparing each takes microseconds, at any client's request."""
_NAME = re.compile(r"(@?[A-Za-z0-9][A-Za-z0-9_.-]{0,63})(/[A-Za-z0-9_.-]{1,64})?")
_LIKE_A_KEY = re.compile(r"^@?(sk|pk|rk|hf|r8|key)[-_]|[A-Za-z0-9]{20}", re.IGNORECASE)


def quoted(name: str) -> str:
    """Return a name in quotes for an error message; "" for what is no name, or looks like a key.

    >>> quoted("pc-1"), quoted("a b"), quoted("sk-proj-1"), quoted("0123456789abcdef0123456789")
    (" 'pc-1'", '', '', '')
    """
    return f" '{name}'" if _NAME.fullmatch(name) and not _LIKE_A_KEY.search(name) else ""


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
