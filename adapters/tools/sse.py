r"""An incremental parser of server-sent events.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

>>> parser = EventParser()
>>> [str(event.data, "ascii") for event in parser.feed(b'data: {"a":1}\n\ndata: {')]
['{"a":1}']
>>> [event.name for event in parser.feed(b'}\nevent: last\n\n: a comment\n\n')]
['last']
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from adapters.tools.lenient_json import read_json

# Also matches if the two line ends of a blank line arrive in different chunks.
BLANK_LINE = re.compile(rb"\r\n\r\n|\n\r?\n|\r\r")
_LINES = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """One event: its name ("" if it has none) and its data."""

    name: str
    data: bytes

    def json(self) -> Any:
        """Return the parsed data, None if it is not JSON (such as `[DONE]`)."""
        return read_json(self.data)[0]


class EventParser:
    """Parses a stream chunk by chunk. `buffered_bytes` is the size of the incomplete event."""

    __slots__ = ("_chunks", "_tail", "buffered_bytes")

    def __init__(self) -> None:
        self.buffered_bytes = 0
        self._chunks: list[bytes] = []
        self._tail = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that end in this chunk."""
        # An event can have megabytes in many chunks: scan only across the chunk boundary.
        boundary = self._tail + chunk
        if not BLANK_LINE.search(boundary):
            self._buffer(chunk)
            return []
        whole = b"".join((*self._chunks, chunk))
        *blocks, rest = BLANK_LINE.split(whole)
        self._chunks, self.buffered_bytes, self._tail = [], 0, b""
        self._buffer(rest)
        return [event for block in blocks if (event := _event(block))]

    def flush(self) -> list[Event]:
        """Return the last event, if the stream ended without a blank line."""
        return self.feed(b"\n\n")

    def _buffer(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.buffered_bytes += len(chunk)
        self._tail = (self._tail + chunk)[-3:]


def _event(block: bytes) -> Event | None:
    """Parse the lines of one event; None if they have no data."""
    name, data = b"", list[bytes]()
    for line in _LINES.split(block):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(name.decode(errors="replace"), b"\n".join(data)) if data else None
