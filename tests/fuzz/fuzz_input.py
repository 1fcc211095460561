"""Derives choices, texts and JSON values from random bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_WORDS = (
    *("", "a", "0", "-1", "1e999", "NaN", "null", "1024x1024", "auto", "x" * 700, "\x00", "\uffff"),
    *(
        "https://a.test/p.png",
        "data:image/png;base64,iVBORw0KGgo=",
        "data:,",
        "//",
        "../..",
        "é\u202e",
    ),
    *(
        "succeeded",
        "failed",
        "COMPLETED",
        "Ready",
        "processing",
        "http://[",
        "http://a.test:99999/",
    ),
)
_KEYS = ("data", "error", "url", "b64_json", "id", "status", "output", "images", "message", "code")
_NUMBERS = (0, 1, -1, 0.5, 1e308, 2**31, 2**63, -(2**63))
_MAX_DEPTH = 5


class FuzzInput:
    """Consumes bytes to make choices; when they are used up, every choice is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Return a number from 0 to `below` - 1."""
        size = 1 if below <= 256 else 4
        piece = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(piece, "little") % below

    def choose(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[self.number(len(choices))]

    def text(self) -> str:
        """Return a typical word, or some bytes as text."""
        if self.number(3):
            return self.choose(_WORDS)
        size = self.number(40)
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece.decode("utf-8", "replace")

    def rest(self) -> bytes:
        """Return the remaining bytes."""
        return self._data[self._at :]

    def tree(self, depth: int = 0, keys: Sequence[str] = _KEYS) -> Any:
        """Return any JSON value."""
        kind = self.number(8 if depth < _MAX_DEPTH else 5)
        if kind == 5:
            return [self.tree(depth + 1, keys) for _ in range(self.number(4))]
        if kind > 5:
            named = [
                self.choose(keys) if self.number(4) else self.text() for _ in range(self.number(5))
            ]
            return {name: self.tree(depth + 1, keys) for name in named}
        return (None, self.choose(_NUMBERS), self.text(), self.choose((True, False)), self.text())[
            kind
        ]
