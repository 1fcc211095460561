"""A handler's request whose answer goes onto a tape instead of to the client.

The one place that knows how aiohttp ties an answer to its connection.
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
    """Takes what a response writes."""

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
        """Wait for nothing: `append` has waited."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Compress nothing: the client's own connection may."""

    def enable_chunking(self) -> None:
        """Do nothing: the pieces are not framed here."""


def capture_request(request: web.Request, recording: Recording) -> web.Request:
    """Give a request like this one, whose answer goes onto `tape`.

    It knows what the links before have left, and outlives the client's connection.
    """
    # aiohttp has no public way to give a request another writer.
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
    """Have a handler answer a request that is staged for `tape`, to the last byte."""
    response = await handler(request)
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        # All of it is here: it need not be made ready for a connection first.
        await request.app.on_response_prepare.send(request, response)
        headers = _without_connection_headers(response.headers)
        headers[hdrs.CONTENT_LENGTH] = str(len(response.body))
        recording.begin(response.status, headers)
        await recording.append(response.body)
    else:
        await response.prepare(request)
        await response.write_eof()


def _without_connection_headers(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Give the headers of an answer, whatever connection it will go to."""
    kept = CIMultiDict(headers)
    for name in _CONNECTION_HEADERS:
        kept.popall(name, None)
    return kept
