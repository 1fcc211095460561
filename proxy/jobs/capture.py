"""Capture of a handler's response in a recording, instead of sending it to the client.

The only module that depends on how aiohttp ties a response to its connection.
"""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler
from multidict import CIMultiDict

from proxy.http.forwarding import HOP_BY_HOP
from proxy.jobs.recording import Recording

_CONNECTION_HEADERS = (*HOP_BY_HOP, hdrs.DATE, hdrs.SERVER)


class _RecordingWriter(AbstractStreamWriter):
    """Stream writer that appends to a recording."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        self._recording.begin(
            int(status_line.split(" ", 2)[1]), _without_connection_headers(headers)
        )

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        await self._recording.append(chunk if isinstance(chunk, bytes) else bytes(chunk))

    async def write_eof(self, chunk: bytes = b"") -> None:
        await self._recording.append(chunk)

    async def drain(self) -> None:
        """Do nothing: `append` has already waited."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Do nothing: the client's own connection may compress."""

    def enable_chunking(self) -> None:
        """Do nothing: a recording has no framing."""


def capture_request(request: web.Request, recording: Recording) -> web.Request:
    """Return a copy of a request whose response is written to a recording.

    It has the state that earlier middlewares have set, and outlives the client's connection.
    """
    # aiohttp has no public way to replace a request's writer.
    captured = web.Request(
        request._message,  # noqa: SLF001 - see above
        request.content,
        request.protocol,
        _RecordingWriter(recording),
        request.task,
        asyncio.get_running_loop(),
        client_max_size=request._client_max_size,  # noqa: SLF001 - see above
        state=dict(request._state),  # noqa: SLF001 - see above
    )
    captured._match_info = request._match_info  # noqa: SLF001 - see above
    return captured


async def capture_response(request: web.Request, recording: Recording, handler: Handler) -> None:
    """Run a handler on a captured request, and record its whole response."""
    response = await handler(request)
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        # The whole body is in memory: there is no need to prepare a connection.
        await request.app.on_response_prepare.send(request, response)
        headers = _without_connection_headers(response.headers)
        headers[hdrs.CONTENT_LENGTH] = str(len(response.body))
        recording.begin(response.status, headers)
        await recording.append(response.body)
    else:
        await response.prepare(request)
        await response.write_eof()


def _without_connection_headers(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Return headers without those that belong to one connection."""
    kept = CIMultiDict(headers)
    for name in _CONNECTION_HEADERS:
        kept.popall(name, None)
    return kept
