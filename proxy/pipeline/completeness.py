"""Whether a relayed response is whole, found out from its bytes as they pass.

A connection that is closed looks like the end of a response. So a relayed JSON object must be
closed, and a relayed event stream must have sent a finished image. Nothing is kept but a few bytes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from adapters.errors import ImageError
from adapters.tools.sse import BLANK_LINE
from proxy.upstream.errors import ended_early
from proxy.upstream.reply_limits import JsonStructure
from proxy.upstream.turns import next_turn

_IMAGE = re.compile(rb'"(?:b64_json|image_base64|url)"\s*:\s*"[^"\s]')
_PREVIEW = re.compile(
    rb'[\r\n]event:[^\r\n]{0,80}partial_image[\r\n]|"type"\s*:\s*"[^"]{0,80}partial_image"'
    rb'|"partial_image_index"\s*:'
)
_COMPLETED = re.compile(
    rb'[\r\n]event:[^\r\n]{0,80}completed[\r\n]|"type"\s*:\s*"[^"]{0,80}\.completed"'
)
"""An event that says so is finished, also with the index of a preview in it."""
_ERROR = re.compile(
    rb'[\r\n]event:[ \t]*error[ \t]*[\r\n]|"type"\s*:\s*"error"|"error"\s*:\s*(?:"[^"]|\{)'
)
_CARRIED = 160
"""Bytes of an event that are searched again with the next chunk: the longest pattern."""
_MAX_HELD = 4
"""Line ends that a blank line may have."""
_LINES_PER_TURN = 50
_STEP = 1024
"""Bytes of a chunk with more lines than that which are searched in one turn of the event loop."""
_REPORT_BYTES = 4096
"""Bytes of an event that are kept, in case it reports an error."""


class JsonNesting(JsonStructure):
    """Follows the nesting of a JSON text that arrives in chunks, without parsing it.

    >>> text = JsonNesting()
    >>> [text.feed(it) or text.is_whole for it in (b'{"a": [1, "}', b'"]}', b" ")]
    [False, True, True]
    """

    __slots__ = ("_depth", "_last")

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._last = b""

    @property
    def is_closed(self) -> bool:
        """Whether every object, list and string is closed."""
        return self._depth == 0 and not self._in_string

    @property
    def is_whole(self) -> bool:
        """Whether the text so far is a whole object."""
        return self.is_closed and self._last == b"}"

    def feed(self, chunk: bytes) -> None:
        """Follow the next chunk."""
        if not chunk:
            return
        self._last = chunk[-64:].rstrip()[-1:] or chunk.rstrip()[-1:] or self._last
        outside = self.outside_strings(chunk)
        opened, closed = (sum(map(outside.count, it)) for it in ((b"{", b"["), (b"}", b"]")))
        self._depth += opened - closed


class EventScan:
    r"""Finds out what a stream of server-sent events in OpenAI's format holds.

    `finished` counts the events with a finished image; `report` is an event that reports an error.

    >>> scan = EventScan()
    >>> scan.feed(b'event: image_generation.completed\ndata: {"b64_json":"iV"}\n\n')
    >>> scan.finished
    1
    """

    __slots__ = (
        *("_carry", "_has_image", "_head", "_held", "_is_completed", "_is_error", "_is_preview"),
        *("_json", "_pending", "finished", "report"),
    )

    def __init__(self) -> None:
        self.finished = 0
        self.report = b""
        self._held = b""
        """Line ends at the end of what was fed: the next chunk may begin with another."""
        self._start_event()

    def _start_event(self) -> None:
        self._carry, self._head, self._json = b"\n", b"", JsonNesting()
        self._has_image = self._is_preview = self._is_error = self._pending = False
        self._is_completed = False

    @property
    def is_between_events(self) -> bool:
        """Whether no event is incomplete."""
        return not self._pending

    def feed(self, chunk: bytes) -> None:
        """Search the next chunk."""
        text = self._held + chunk
        body = text.rstrip(b"\r\n")
        self._held = text[len(body) :]
        has_lines = b"\n" in body or b"\r" in body
        *blocks, rest = BLANK_LINE.split(body) if has_lines else [body]
        for block in blocks:
            self._search(block)
            self._end_event()
        self._search(rest)
        if BLANK_LINE.search(self._held):
            self._end_event()
        self._held = self._held[-_MAX_HELD:]

    def close(self) -> bytes:
        """End the stream; return the blank line that a last whole event lacks, if it does."""
        if not (self._pending and self._json.is_closed and (self._has_image or self._is_error)):
            return b""
        self._end_event()
        return b"\n\n"

    def _search(self, piece: bytes) -> None:
        """Search a piece of an event."""
        if not piece:
            return
        self._pending = True
        if len(self._head) < _REPORT_BYTES:
            self._head += piece[: _REPORT_BYTES - len(self._head)]
        self._json.feed(piece)
        if not (self._carry or b'"' in piece or b"\n" in piece or b"\r" in piece):
            return  # The middle of base64.
        text = self._carry + piece
        self._has_image = self._has_image or _IMAGE.search(text) is not None
        self._is_preview = self._is_preview or _PREVIEW.search(text) is not None
        self._is_completed = self._is_completed or _COMPLETED.search(text) is not None
        self._is_error = self._is_error or _ERROR.search(text) is not None
        tail = text[-_CARRIED:]
        self._carry = tail if any(it in tail for it in (b'"', b"\n", b"\r")) else b""

    def _end_event(self) -> None:
        is_final = self._is_completed or not self._is_preview
        if self._has_image and is_final and self._json.is_closed:
            self.finished += 1
        elif self._is_error and not self._has_image:
            self.report = self._head
        self._start_event()


async def check_json(
    chunks: AsyncIterator[bytes], length: int | None
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a JSON object; raise `UpstreamFailed` if it is not whole at the end.

    A client that was told the `length` never gets the last chunk of a damaged object. Without a
    length, an error of the connection after the end of the object is ignored.
    """
    text, received = JsonNesting(), 0
    try:
        async for chunk in chunks:
            text.feed(chunk)
            received += len(chunk)
            if received == length and not text.is_whole:
                break
            yield chunk
            del chunk
    except ImageError:
        if length is not None or not text.is_whole:
            raise
    if not text.is_whole:
        raise ended_early()


async def _scan(scan: EventScan, chunk: bytes) -> None:
    """Search a chunk of events, in steps if it has many lines."""
    if chunk.count(b"\n") + chunk.count(b"\r") <= _LINES_PER_TURN:
        scan.feed(chunk)
        return
    for at in range(0, len(chunk), _STEP):
        await next_turn()
        scan.feed(chunk[at : at + _STEP])


async def check_events(
    chunks: AsyncIterator[bytes],
    scan: EventScan,
    wanted: int,
    reported_error: Callable[[bytes], ImageError],
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of an event stream; raise its error if it ends without a finished image.

    Once `wanted` images have arrived, an error of the connection is ignored. `reported_error`
    returns the error that an event reports.
    """
    try:
        async for chunk in chunks:
            await _scan(scan, chunk)
            yield chunk
            del chunk
    except ImageError:
        if scan.finished < wanted or not scan.is_between_events:
            raise
    if end := scan.close():
        yield end
    if not scan.finished and scan.report:
        error = reported_error(scan.report)
        error.sent_as_event = True
        raise error
    if not scan.finished or (scan.finished < wanted and not scan.is_between_events):
        raise ended_early()
