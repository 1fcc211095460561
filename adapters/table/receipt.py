"""The receipt: what happened to each parameter, in text that is safe in a header.

A line contains only names, numbers and listed values, never a client's free text.
"""

from __future__ import annotations

import re
from typing import Any

from adapters.frozen import frozen
from adapters.table.param import STANDARD_PARAMS, Approximation, Fields, Param

RECEIPT_LIMIT, RECORD_LIMIT = 2048, 16_384
"""Maximum bytes of a receipt in the response header, and in the access log."""

_ELISION_BYTES = 20
"""Bytes reserved for `, N more`."""

_NUMBERS = (int, float)
"""Types whose values may be shown; a bool is an int."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.:*/-]")
"""Characters not allowed in a receipt."""
_NESTED = (list, dict)
_GATEWAY_HANDLED = frozenset({"model", "n", "response_format", "stream"})
"""Parameters that the gateway itself handles: no line if the provider does not get them."""


@frozen
class ReceiptLine:
    """What happened to one parameter. `outcome` is empty if it was dropped."""

    verb: str
    name: str
    value: str = ""
    outcome: str = ""

    def __str__(self) -> str:
        """Return the line in the header's format: `converted n=3>calls=3`."""
        param = f"{self.name}={self.value}" if self.value else self.name
        if self.verb == "unknown" and self.outcome:
            return f"unknown {param}, did you mean {self.outcome}"
        return f"{self.verb} {param}>{self.outcome}" if self.outcome else f"{self.verb} {param}"


@frozen
class Receipt:
    """What happened to the parameters of one call, in the order the client sent them."""

    lines: tuple[ReceiptLine, ...] = ()

    def with_lines(self, *lines: ReceiptLine) -> Receipt:
        """Return a receipt with these lines appended."""
        return Receipt(self.lines + lines) if lines else self

    def __str__(self) -> str:
        """Return the receipt for the response header."""
        return self.format(RECEIPT_LIMIT)

    def format(self, limit: int) -> str:
        """Return the lines, separated by commas, in at most `limit` bytes of ASCII."""
        lines = [str(line) for line in self.lines]
        text = ", ".join(lines)
        if len(text) <= limit - _ELISION_BYTES:
            return text
        text = ""
        for count, line in enumerate(lines):
            if len(text) + len(line) > limit - _ELISION_BYTES:
                return f"{text}, {len(lines) - count} more"
            text = f"{text}, {line}" if text else line
        return text


def make_line(name: str, value: Any, fields: Fields, row: Param | None) -> ReceiptLine | None:
    """Return the receipt line of a parameter, None if it was sent unchanged.

    `fields` are the provider fields it became.
    """
    if fields and row is not None and (name == "n" or fields == {name: value}):
        return None
    shown = _format_value(name, value, row)
    if not fields:
        is_handled = name in _GATEWAY_HANDLED or (row is not None and value in row.implied)
        return None if is_handled else ReceiptLine("dropped", sanitize(name), shown)
    if row is None:
        return ReceiptLine("passed", sanitize(name), shown)
    if len(fields) == 1 and next(iter(fields.values())) == value:
        return ReceiptLine("renamed", name, "", next(iter(fields)))
    # A prompt may be wrapped in a larger structure; its text must not appear in a receipt.
    if not shown:
        return ReceiptLine("renamed", name, "", ";".join(fields))
    verb = "converted"
    if isinstance(fields, Approximation):
        verb = "rounded" if row.convert else "clamped"
    return ReceiptLine(verb, name, shown, format_fields(fields, row))


def format_fields(fields: Fields, row: Param) -> str:
    """Return provider fields as receipt text; values that are free text are omitted."""
    is_shown = row.kind is not str or row.name in STANDARD_PARAMS or row.choices or row.pattern
    return ";".join(
        name if not is_shown or isinstance(value, _NESTED) else f"{name}={sanitize(value)}"
        for name, value in fields.items()
    )


def _format_value(name: str, value: Any, row: Param | None) -> str:
    """Return a value for a receipt if it is a number or a listed value; "" for free text."""
    rule = STANDARD_PARAMS.get(name) or row
    listed = rule is not None and bool(rule.choices or rule.pattern)
    if isinstance(value, _NUMBERS) or (listed and isinstance(value, str)):
        return sanitize(value)
    return ""


def sanitize(value: Any) -> str:
    """Return a value as at most 64 characters of ASCII without separators."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _UNSAFE.sub("?", text[:64])
