"""How long a provider asks to wait, from the JSON of an error: by a member, or by a phrase.

>>> find_retry_delay({"error": {"details": [{"retryDelay": "34.07s"}]}})
34.07
>>> find_retry_delay({"detail": "Request was throttled. Your rate limit resets in ~30s."})
30.0
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

MAX_DELAY = 7 * 86_400.0
"""Longest delay in seconds that is believed."""
_MAX_NODES = 200
"""Values of an error that are looked at."""
_MAX_WORDS = 600
_SECONDS = frozenset({"retrydelay", "retryafter", "retryafterseconds"})
_MILLISECONDS = frozenset({"retryafterms", "retryaftermilliseconds"})
_NOT_LETTERS = re.compile(r"[^a-z]")

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_PLAIN = re.compile(_NUMBER)
_MS = re.compile(rf"{_NUMBER} ?ms")
_PARTS = re.compile(
    rf"(?=[0-9])(?:{_NUMBER} ?h ?)?(?:{_NUMBER} ?m(?:in)? ?)?(?:{_NUMBER} ?s(?:ec|econds?)?)?"
)
_PHRASE = re.compile(
    r"\b(?:resets?|again|retry|retrying|wait)\b[a-z ]{0,20}?~? ?"
    r"([0-9][0-9.]{0,12} ?(?:ms|h|m|s)[a-z0-9. ]{0,20})",
    re.IGNORECASE,
)


def find_retry_delay(tree: Any) -> float | None:
    """Return the seconds to wait that an error names, None if it names none."""
    nodes, texts = [tree], list[str]()
    for node in nodes:
        if isinstance(node, dict):
            for name, value in islice(node.items(), _MAX_NODES):
                if (delay := _member(name, value)) is not None:
                    return delay
            nodes.extend(list(node.values())[: _MAX_NODES - len(nodes)])
        elif isinstance(node, list):
            nodes.extend(node[: _MAX_NODES - len(nodes)])
        elif isinstance(node, str):
            texts.append(node[:_MAX_WORDS])
    found = (match for text in texts if (match := _PHRASE.search(text)))
    return next((it for match in found if (it := parse_duration(match[1])) is not None), None)


def _member(name: str, value: Any) -> float | None:
    """Return the delay in a member, None if its name is that of another."""
    plain = _NOT_LETTERS.sub("", name[:40].lower())
    if plain not in _SECONDS | _MILLISECONDS:
        return None
    if isinstance(value, dict):  # A protobuf duration as an object.
        value = value.get("seconds")
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if plain in _MILLISECONDS else float(value)
        return _believable(seconds)
    if not isinstance(value, str):
        return None
    seconds_in_text = parse_duration(value)
    if seconds_in_text is None or plain in _SECONDS or not _PLAIN.fullmatch(value.strip()):
        return seconds_in_text
    return seconds_in_text / 1000


def parse_duration(text: str) -> float | None:
    """Return the seconds in a duration, None if it is none.

    >>> [parse_duration(it) for it in ("34.07s", "6m0s", "20ms", "30", "1h", "soon", "")]
    [34.07, 360.0, 0.02, 30.0, 3600.0, None, None]
    """
    text = text.strip()
    if plain := _PLAIN.fullmatch(text):
        return _believable(float(plain[1]))
    if milliseconds := _MS.match(text):
        return _believable(float(milliseconds[1]) / 1000)
    parts = _PARTS.match(text)
    if not parts or not any(parts.groups()):
        return None
    hours, minutes, seconds = (float(it or 0) for it in parts.groups())
    return _believable(hours * 3600 + minutes * 60 + seconds)


def _believable(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= MAX_DELAY else None
