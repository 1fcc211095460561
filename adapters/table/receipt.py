"""The receipt: what became of each parameter, in words that may stand in a header.

No line holds a client's free text: only names, numbers and words from a list.
"""

from __future__ import annotations

import re
from typing import Any

from adapters.frozen import frozen
from adapters.table.param import STANDARD_PARAMS, Approximation, Fields, Param

RECEIPT_LIMIT, RECORD_LIMIT = 2048, 16_384
"""Bytes of a receipt in a header, and in the record of a call."""

_ELISION_BYTES = 20
"""Bytes for saying how many lines there are more."""

_NUMBERS = (int, float)
"""Kinds whose values may be shown; a bool is an int."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.:*/-]")
"""What may not stand in a receipt."""
_NESTED = (list, dict)
_HONOURED = frozenset({"model", "n", "response_format", "stream"})
"""What the gateway itself honours: no line is owed for it."""


@frozen
class ReceiptLine:
    """What became of one parameter. `outcome` is empty for what was dropped."""

    verb: str
    name: str
    value: str = ""
    outcome: str = ""

    def __str__(self) -> str:
        """Write it as it stands in the header: `converted n=3>calls=3`."""
        asked = f"{self.name}={self.value}" if self.value else self.name
        return f"{self.verb} {asked}>{self.outcome}" if self.outcome else f"{self.verb} {asked}"


@frozen
class Receipt:
    """What became of the parameters of one call, in the order the client sent them."""

    lines: tuple[ReceiptLine, ...] = ()

    def with_lines(self, *lines: ReceiptLine) -> Receipt:
        """Give a receipt with further lines."""
        return Receipt(self.lines + lines) if lines else self

    def __str__(self) -> str:
        """Write it for a header."""
        return self.format(RECEIPT_LIMIT)

    def format(self, limit: int) -> str:
        """Write the lines with commas between, at most `limit` bytes of ASCII."""
        lines = [str(line) for line in self.lines]
        written = ", ".join(lines)
        if len(written) <= limit - _ELISION_BYTES:
            return written
        written = ""
        for count, line in enumerate(lines):
            if len(written) + len(line) > limit - _ELISION_BYTES:
                return f"{written}, {len(lines) - count} more"
            written = f"{written}, {line}" if written else line
        return written


def make_line(name: str, value: Any, made: Fields, row: Param | None) -> ReceiptLine | None:
    """Write what became of a parameter; None when it went through as it was."""
    if made and row is not None and (name == "n" or made == {name: value}):
        return None
    shown = _format_value(name, value, row)
    if not made:
        is_honoured = name in _HONOURED or (row is not None and value in row.implied)
        return None if is_honoured else ReceiptLine("dropped", sanitize(name), shown)
    if row is None:
        return ReceiptLine("passed", sanitize(name), shown)
    if len(made) == 1 and next(iter(made.values())) == value:
        return ReceiptLine("renamed", name, "", next(iter(made)))
    # A prompt may be wrapped in a larger structure: its words never stand in a receipt.
    if not shown:
        return ReceiptLine("renamed", name, "", ";".join(made))
    verb = "converted"
    if isinstance(made, Approximation):
        verb = "rounded" if row.convert else "clamped"
    return ReceiptLine(verb, name, shown, format_fields(made, row))


def format_fields(made: Fields, row: Param) -> str:
    """Write fields for a receipt, without a client's or a provider's free text."""
    told = row.kind is not str or row.name in STANDARD_PARAMS or row.choices or row.pattern
    return ";".join(
        k if not told or isinstance(v, _NESTED) else f"{k}={sanitize(v)}" for k, v in made.items()
    )


def _format_value(name: str, value: Any, row: Param | None) -> str:
    """Show a value in a receipt if it is a number or one of a list; free text is never shown."""
    rule = STANDARD_PARAMS.get(name) or row
    listed = rule is not None and bool(rule.choices or rule.pattern)
    if isinstance(value, _NUMBERS) or (listed and isinstance(value, str)):
        return sanitize(value)
    return ""


def sanitize(value: Any) -> str:
    """Keep a word to what may stand in a header line: printable ASCII without separators."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _UNSAFE.sub("?", text[:64])
