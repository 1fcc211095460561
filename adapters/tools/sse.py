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
from codecs import BOM_UTF8
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

    __slots__ = ("_chunks", "_has_begun", "_tail", "buffered_bytes")

    def __init__(self) -> None:
        self.buffered_bytes = 0
        self._chunks: list[bytes] = []
        self._has_begun = False
        self._tail = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that end in this chunk."""
        # An event can have megabytes in many chunks: scan only across the chunk boundary.
        boundary = self._tail + chunk
        if not BLANK_LINE.search(boundary):
            self._buffer(chunk)
            return []
        whole = b"".join((*self._chunks, chunk))
        if not self._has_begun:  # Only a byte order mark before everything else is ignored.
            whole, self._has_begun = whole.removeprefix(BOM_UTF8), True
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


_STARTS = (b":", b"data:", b"event:", b"id:", b"retry:")
_SHARED_FIELDS = ("background", "output_format", "quality", "size")
"""Fields of an event that belong to the response as a whole."""
_EVENT_ONLY = frozenset({*_SHARED_FIELDS, "type", "object", "created", "created_at", "usage"})
_IMAGE_FIELDS = ("b64_json", "image_base64", "url")
_PREVIEW, _COMPLETED = "partial_image", "completed"


def is_event_text(start: bytes) -> bool:
    r"""Whether a text that starts like this is server-sent events, whatever type was declared.

    >>> [is_event_text(it) for it in (b"data: {}", b": hi", b"\r\nid: 7", b'{"data":1}', b"data")]
    [True, True, True, False, False]
    """
    return start.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n").startswith(_STARTS)


def _events(body: bytes) -> list[Event]:
    """Return the events of a whole stream."""
    parser = EventParser()
    return [*parser.feed(body), *parser.flush()]


def join_events(body: bytes) -> Any:
    r"""Return the JSON response that the events of a whole stream amount to; None if there is none.

    The finished images of events in OpenAI's format become one list, without previews. Other
    events are parts of no image: the last one is the response.

    >>> join_events(b'data: {"type":"image_edit.completed","b64_json":"iVBO"}\n\ndata: [DONE]')
    {'data': [{'b64_json': 'iVBO'}]}
    """
    trees = [(event.name, it) for event in _events(body) if isinstance(it := event.json(), dict)]
    finished = [it for name, it in trees if not is_preview(name, it) and _entries(it)]
    if finished:
        return _images_response(finished, [it for _, it in trees])
    for name, it in trees:
        if name == "error" or it.get("type") == "error":
            return it if it.get("error") else {"error": it}
    return trees[-1][1] if trees else None


def is_unfinished(body: bytes, tree: Any) -> bool:
    r"""Return whether a stream ended before its image: all it has is previews, or is cut.

    `tree` is the response that its events amount to.

    >>> preview, cut = b'data: {"type":"x.partial_image"}\n\n', b'data: {"b64_json":"iV'
    >>> [is_unfinished(it, join_events(it)) for it in (preview, cut, b'data: {"a":1}\n\n' + cut)]
    [True, True, False]
    """
    if isinstance(tree, dict) and ("data" in tree or "error" in tree):
        return False
    events = [it for it in _events(body) if it.data.lstrip().startswith(b"{")]
    return bool(events) and all(map(_is_no_result, events))


def _is_no_result(event: Event) -> bool:
    tree = event.json()
    return not isinstance(tree, dict) or is_preview(event.name, tree)


def is_preview(name: str, tree: dict[str, Any]) -> bool:
    """Return whether an event, by its name and data, has a preview and no finished image.

    >>> [is_preview("", it) for it in ({"type": "a.partial_image"}, {"partial_image_index": 0})]
    [True, True]
    >>> is_preview("", {"type": "image_edit.completed", "partial_image_index": 0})
    False
    """
    kind = tree.get("type")
    names = (name, kind if isinstance(kind, str) else "")
    if any(it.rpartition(".")[2] == _COMPLETED for it in names):
        return False
    return any(_PREVIEW in it for it in names) or "partial_image_index" in tree


def _entries(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries for `data` of one event."""
    if isinstance(listed := tree.get("data"), list):
        return [it for it in listed if isinstance(it, dict)]
    if not any(tree.get(name) for name in _IMAGE_FIELDS):
        return []
    return [{name: it for name, it in tree.items() if name not in _EVENT_ONLY}]


def _images_response(finished: list[dict[str, Any]], all_trees: list[dict[str, Any]]) -> Any:
    last = finished[-1]
    response = {name: last[name] for name in _SHARED_FIELDS if name in last}
    if created := last.get("created_at") or last.get("created"):
        response["created"] = created
    response["data"] = [entry for tree in finished for entry in _entries(tree)]
    if usages := [it["usage"] for it in all_trees if isinstance(it.get("usage"), dict)]:
        response["usage"] = usages[-1]
    return response
