"""The receipt: what became of each parameter, in words that may stand in a header.

No line holds a client's free text: only names, numbers and words from a list.
"""

from __future__ import annotations

import re
from typing import Any

from adapters.frozen import value
from adapters.table.param import CONTRACT, Fields, Nearest, Param

RECEIPT_LIMIT, RECORD_LIMIT = 2048, 16_384
"""Bytes of a receipt in a header, and in the record of a call."""

_ROOM = 20
"""Bytes for saying how many lines there are more."""

_NUMBERS = (int, float)
"""Kinds whose values may be shown; a bool is an int."""
_ODD = re.compile(r"[^A-Za-z0-9_.:*/-]")
"""What may not stand in a receipt."""
_NESTED = (list, dict)
_HONOURED = frozenset({"model", "n", "response_format", "stream"})
"""What the gateway itself honours: no line is owed for it."""


@value
class Line:
    """What became of one parameter. `outcome` is empty for what was dropped."""

    verb: str
    name: str
    value: str = ""
    outcome: str = ""

    def __str__(self) -> str:
        """Write it as it stands in the header: `converted n=3>calls=3`."""
        asked = f"{self.name}={self.value}" if self.value else self.name
        return f"{self.verb} {asked}>{self.outcome}" if self.outcome else f"{self.verb} {asked}"


@value
class Receipt:
    """What became of the parameters of one call, in the order the client sent them."""

    lines: tuple[Line, ...] = ()

    def plus(self, *lines: Line) -> Receipt:
        """Give a receipt with further lines."""
        return Receipt(self.lines + lines) if lines else self

    def __str__(self) -> str:
        """Write it for a header."""
        return self.written(RECEIPT_LIMIT)

    def written(self, limit: int) -> str:
        """Write the lines with commas between, at most `limit` bytes of ASCII."""
        lines = [str(line) for line in self.lines]
        written = ", ".join(lines)
        if len(written) <= limit - _ROOM:
            return written
        written = ""
        for count, line in enumerate(lines):
            if len(written) + len(line) > limit - _ROOM:
                return f"{written}, {len(lines) - count} more"
            written = f"{written}, {line}" if written else line
        return written


def line_of(name: str, value: Any, made: Fields, row: Param | None) -> Line | None:
    """Write what became of a parameter; None when it went through as it was."""
    if made and row is not None and (name == "n" or made == {name: value}):
        return None
    shown = _shown(name, value, row)
    if not made:
        is_honoured = name in _HONOURED or (row is not None and value in row.anyway)
        return None if is_honoured else Line("dropped", plain(name), shown)
    if row is None:
        return Line("passed", plain(name), shown)
    if len(made) == 1 and next(iter(made.values())) == value:
        return Line("renamed", name, "", next(iter(made)))
    # A prompt may be wrapped in a larger structure: its words never stand in a receipt.
    if not shown:
        return Line("renamed", name, "", ";".join(made))
    verb = "converted"
    if isinstance(made, Nearest):
        verb = "rounded" if row.to else "clamped"
    return Line(verb, name, shown, told_fields(made, row))


def told_fields(made: Fields, row: Param) -> str:
    """Write fields for a receipt, without a client's or a provider's free text."""
    told = row.kind is not str or row.name in CONTRACT or row.choices or row.pattern
    return ";".join(
        k if not told or isinstance(v, _NESTED) else f"{k}={plain(v)}" for k, v in made.items()
    )


def _shown(name: str, value: Any, row: Param | None) -> str:
    """Show a value in a receipt if it is a number or one of a list; free text is never shown."""
    rule = CONTRACT.get(name) or row
    listed = rule is not None and bool(rule.choices or rule.pattern)
    if isinstance(value, _NUMBERS) or (listed and isinstance(value, str)):
        return plain(value)
    return ""


def plain(value: Any) -> str:
    """Keep a word to what may stand in a header line: printable ASCII without separators."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _ODD.sub("?", text[:64])
