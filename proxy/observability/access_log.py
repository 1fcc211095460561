"""The access log: one line per request, written in batches. No line holds a key or an image."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol

import orjson
from aiohttp import web

from proxy.observability.process_log import escape_unprintable

_FLUSH_SECONDS = 0.1
_FLUSH_LINES = 500


class Stream(Protocol):
    """A writable text stream."""

    def write(self, text: str, /) -> int:
        """Write a text; return the number of characters."""

    def flush(self) -> None:
        """Write out whatever is buffered."""


class AccessLog:
    """Buffers lines; writes them every tenth of a second, or every 500 lines."""

    def __init__(self, stream: Stream, style: str) -> None:
        self._stream = stream
        self._style = style
        self._lines: list[dict[str, Any]] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self.is_enabled = style != "none"

    def write(self, line: dict[str, Any]) -> None:
        """Buffer a line. Needs a running event loop."""
        if not self.is_enabled:
            return
        self._lines.append(line)
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()
        elif self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write the buffered lines now."""
        if self._flush_timer:
            self._flush_timer.cancel()
            self._flush_timer = None
        lines, self._lines = self._lines, []
        written = map(_as_json if self._style == "json" else _as_text, lines)
        # A closed pipe or a full disk must not fail requests.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write("".join(written))
            self._stream.flush()


ACCESS_LOG: web.AppKey[AccessLog] = web.AppKey("log")
"""The access log."""


def _as_json(line: dict[str, Any]) -> str:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE).decode()


def _as_text(line: dict[str, Any]) -> str:
    r"""Return a line in the text format: status, method, path, duration, other fields.

    >>> _as_text({"status": 200, "method": "GET", "path": "/healthz", "ms": 0.4, "trace": "t"})
    '200 GET /healthz 0.4ms trace=t\n'
    """
    head = "{status} {method} {path} {ms}ms".format_map(line)
    shown = ("status", "method", "path", "ms", "time")
    rest = [
        f"{name}={_attempts_text(value) if isinstance(value, list) else value}"
        for name, value in line.items()
        if name not in shown and value not in ("", [])
    ]
    text = " ".join([head, *rest])
    return escape_unprintable(text) + "\n"


def _attempts_text(attempts: list[dict[str, Any]]) -> str:
    return ",".join(f"{it['target']}:{it['provider']}:{it['ended']}" for it in attempts)
