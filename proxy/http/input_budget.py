"""How much a piece of JSON may become: its values are counted before anything is parsed.

Pure functions of text and bytes, for requests and replies alike.
"""

from __future__ import annotations

from typing import Any

VALUE_BYTES = 128
"""Memory that one counted value takes when it is parsed, at most: `{"a":{"a":…` has two values per
object of 232 bytes.
"""
_MAX_VALUES = 10_000
_MARKS = (b",", b":", b"[", b"{")
"""Each key and each value of JSON, except the outermost, follows one of these bytes."""
_CONTAINERS = (dict, list)
_PIECE = 256 * 1024
"""Bytes that are counted at once: other threads run in between."""


def count_values(raw: bytes, most: int = _MAX_VALUES) -> int:
    """Return how many keys and values a JSON text holds, before it is parsed.

    An empty object or list counts twice. A count up to `most` may include marks within strings; one
    above `most` does not, and may end before the text does.

    >>> count_values(b'{"a": [1, 2]}'), count_values(b'["a, b: c", {}]', most=1)
    (5, 4)
    """
    at_most = 1 + sum(raw.count(mark) for mark in _MARKS)
    return at_most if at_most <= most else _count_outside_strings(raw, most)


def _count_outside_strings(raw: bytes, most: int) -> int:
    """Count the values of a text piece by piece, until there are more than `most`."""
    count, in_string, start = 1, False, 0
    while start < len(raw) and count <= most:
        end = _end_of_piece(raw, start)
        # An escaped backslash goes first: what then follows a backslash is escaped.
        piece = raw[start:end].replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = b'"'.join(parts[in_string::2])
        count += sum(outside.count(mark) for mark in _MARKS)
        in_string ^= len(parts) % 2 == 0
        start = end
    return count


def _end_of_piece(raw: bytes, start: int) -> int:
    """Return where a piece ends: not between a backslash and what it escapes."""
    end = min(start + _PIECE, len(raw))
    if raw[end - 1 : end] != b"\\":
        return end
    piece = raw[start:end]
    backslashes = len(piece) - len(piece.rstrip(b"\\"))
    return end + backslashes % 2


def exceeds_depth(tree: Any, limit: int) -> bool:
    """Return whether a JSON value is nested deeper than `limit` levels.

    >>> exceeds_depth({"a": [1]}, 2), exceeds_depth({"a": [[1]]}, 2)
    (False, True)
    """
    if not isinstance(tree, _CONTAINERS):
        return False
    if limit == 0:
        return True
    values = tree.values() if isinstance(tree, dict) else tree
    return any(exceeds_depth(it, limit - 1) for it in values if isinstance(it, _CONTAINERS))
