"""How long clients may take: to send a head, to send a body, to take in an answer.

All connections are looked at once a second: nothing of it lies on the way of a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.errors import GatewayError
from proxy.settings.schema import Timeouts

_LOOK_SECONDS = 1.0
_SHARE = 4
"""Looks at least that are taken within the shortest of the times."""
BODY_RATE = 16 * 1024
"""Bytes of a body for which it has a second more."""
HEAD, BODY, ANSWER = "head", "body", "answer"


class TooSlow(GatewayError):
    """A body took too long to arrive."""

    status = 408
    type = "timeout_error"
    code = "request_too_slow"


class Wait(NamedTuple):
    """What is waited for on a connection, since when, and how far that was when it was seen."""

    what: str
    far: int
    since: float


@asynccontextmanager
async def patience(server: web.Server, timeouts: Timeouts) -> AsyncIterator[None]:
    """Cut connections that are too slow, while a block lasts."""
    task = asyncio.create_task(_looking(Patience(server, timeouts), timeouts))
    try:
        yield
    finally:
        task.cancel()


async def _looking(watch: Patience, timeouts: Timeouts) -> None:
    shortest = min(timeouts.head, timeouts.body, timeouts.unread)
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(_LOOK_SECONDS, shortest / _SHARE))
        watch.look(loop.time())


class Patience:
    """What each connection is waited for."""

    def __init__(self, server: web.Server, timeouts: Timeouts) -> None:
        self._server = server
        self._timeouts = timeouts
        self._waits: dict[RequestHandler, Wait] = {}

    def look(self, now: float) -> None:
        """Look at all connections, and cut those that take too long."""
        before, self._waits = self._waits, {}
        for connection in self._server.connections:
            if (awaited := _awaited(connection)) is None:
                continue
            wait = before.get(connection)
            if wait is None or wait[:2] != awaited:
                wait = Wait(*awaited, now)
            self._waits[connection] = wait
            if now - wait.since >= self._allowed(connection, wait.what):
                _cut(connection, wait.what)

    def _allowed(self, connection: RequestHandler, what: str) -> float:
        if what == HEAD:
            return self._timeouts.head
        if what == ANSWER:
            return self._timeouts.unread
        request = connection._current_request  # noqa: SLF001 - see `_awaited`
        come = request.content.total_raw_bytes if request else 0
        return self._timeouts.body + come / BODY_RATE


def _awaited(connection: RequestHandler) -> tuple[str, int] | None:
    """Tell what a connection waits for its client to do, and how far that is.

    A head that follows another on the same connection has the time that it may idle.
    """
    if connection.transport is None:
        return None
    # aiohttp has no public way to ask a connection what it is at.
    request, count = connection._current_request, connection._request_count  # noqa: SLF001
    if unread := connection.transport.get_write_buffer_size():
        written = request.writer.output_size if request else 0
        return ANSWER, written - unread
    if request is not None and not request.content.is_eof():
        return BODY, count
    return None if count else (HEAD, 0)


def _cut(connection: RequestHandler, what: str) -> None:
    request = connection._current_request  # noqa: SLF001 - see `_awaited`
    if what == BODY and request is not None:
        # Whoever reads it is told, and can tell the client; what comes later is not looked at.
        request.content.set_exception(
            TooSlow("The body of the request took too long to arrive (`timeouts.body`).")
        )
        request.content.feed_eof()
        connection.close()
    elif what == HEAD:
        connection.force_close()
    elif connection.transport is not None:
        connection.transport.abort()
