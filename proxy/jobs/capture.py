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
from proxy.jobs.recording import Tape

_OF_THE_CONNECTION = (*HOP_BY_HOP, hdrs.DATE, hdrs.SERVER)


class _OntoTape(AbstractStreamWriter):
    """Takes what a response writes."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        self._tape.begin(int(status_line.split(" ", 2)[1]), _kept(headers))

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        await self._tape.append(chunk if isinstance(chunk, bytes) else bytes(chunk))

    async def write_eof(self, chunk: bytes = b"") -> None:
        await self._tape.append(chunk)

    async def drain(self) -> None:
        """Wait for nothing: `append` has waited."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Compress nothing: the client's own connection may."""

    def enable_chunking(self) -> None:
        """Do nothing: the pieces are not framed here."""


def staged(request: web.Request, tape: Tape) -> web.Request:
    """Give a request like this one, whose answer goes onto `tape`.

    It knows what the links before have left, and outlives the client's connection.
    """
    # aiohttp has no public way to give a request another writer.
    made = web.Request(
        request._message,  # noqa: SLF001 - see above
        request.content,
        request.protocol,
        _OntoTape(tape),
        request.task,
        asyncio.get_running_loop(),
        client_max_size=request._client_max_size,  # noqa: SLF001 - see above
        state=dict(request._state),  # noqa: SLF001 - see above
    )
    made._match_info = request._match_info  # noqa: SLF001 - see above
    return made


async def play(request: web.Request, tape: Tape, handler: Handler) -> None:
    """Have a handler answer a request that is staged for `tape`, to the last byte."""
    response = await handler(request)
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        # All of it is here: it need not be made ready for a connection first.
        await request.app.on_response_prepare.send(request, response)
        headers = _kept(response.headers)
        headers[hdrs.CONTENT_LENGTH] = str(len(response.body))
        tape.begin(response.status, headers)
        await tape.append(response.body)
    else:
        await response.prepare(request)
        await response.write_eof()


def _kept(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Give the headers of an answer, whatever connection it will go to."""
    kept = CIMultiDict(headers)
    for name in _OF_THE_CONNECTION:
        kept.popall(name, None)
    return kept
