r"""Server-sent events: a stream of bytes taken apart into the events in it.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

>>> events = EventParser()
>>> [str(event.data, "ascii") for event in events.feed(b'data: {"a":1}\n\ndata: {')]
['{"a":1}']
>>> [event.name for event in events.feed(b'}\nevent: last\n\n: a comment\n\n')]
['last']
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

# Also when the two line ends of a blank line come in different pieces.
_END = re.compile(rb"\r\n\r\n|\n\r?\n|\r\r")
_LINES = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """One event: its name, "" when it has none, and its data."""

    name: str
    data: bytes

    def json(self) -> Any:
        """Parse the data; None when it is not JSON (such as `[DONE]`)."""
        try:
            return orjson.loads(self.data)
        except orjson.JSONDecodeError:
            return None


class EventParser:
    """Takes a stream piece by piece; `held` is the size in bytes of what is not an event yet."""

    __slots__ = ("_pieces", "_tail", "buffered_bytes")

    def __init__(self) -> None:
        self.buffered_bytes = 0
        self._pieces: list[bytes] = []
        self._tail = b""

    def feed(self, piece: bytes) -> list[Event]:
        """Give the events that end within this piece."""
        # An event of megabytes comes in many pieces: only their seams are looked at twice.
        seam = self._tail + piece
        if not _END.search(seam):
            self._buffer(piece)
            return []
        whole = b"".join((*self._pieces, piece))
        *blocks, rest = _END.split(whole)
        self._pieces, self.buffered_bytes, self._tail = [], 0, b""
        self._buffer(rest)
        return [event for block in blocks if (event := _event(block))]

    def flush(self) -> list[Event]:
        """Give what the stream ended with, where its last blank line is missing."""
        return self.feed(b"\n\n")

    def _buffer(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.buffered_bytes += len(piece)
        self._tail = (self._tail + piece)[-3:]


def _event(block: bytes) -> Event | None:
    """Read the lines of one event; None when they hold no data."""
    name, data = b"", list[bytes]()
    for line in _LINES.split(block):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(name.decode(errors="replace"), b"\n".join(data)) if data else None
