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

_SWEEP_SECONDS = 1.0
_SWEEPS_PER_TIMEOUT = 4
"""Looks at least that are taken within the shortest of the times."""
MIN_BODY_RATE = 16 * 1024
"""Bytes of a body for which it has a second more."""
HEAD, BODY, ANSWER = "head", "body", "answer"


class RequestTooSlow(GatewayError):
    """A body took too long to arrive."""

    status = 408
    type = "timeout_error"
    code = "request_too_slow"


class Stall(NamedTuple):
    """What is waited for on a connection, since when, and how far that was when it was seen."""

    waiting_for: str
    progress: int
    since: float


@asynccontextmanager
async def enforce_client_timeouts(server: web.Server, timeouts: Timeouts) -> AsyncIterator[None]:
    """Cut connections that are too slow, while a block lasts."""
    task = asyncio.create_task(_sweep_forever(ClientTimeouts(server, timeouts), timeouts))
    try:
        yield
    finally:
        task.cancel()


async def _sweep_forever(watch: ClientTimeouts, timeouts: Timeouts) -> None:
    shortest = min(timeouts.head, timeouts.body, timeouts.unread)
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(_SWEEP_SECONDS, shortest / _SWEEPS_PER_TIMEOUT))
        watch.sweep(loop.time())


class ClientTimeouts:
    """What each connection is waited for."""

    def __init__(self, server: web.Server, timeouts: Timeouts) -> None:
        self._server = server
        self._timeouts = timeouts
        self._stalls: dict[RequestHandler, Stall] = {}

    def sweep(self, now: float) -> None:
        """Look at all connections, and cut those that take too long."""
        before, self._stalls = self._stalls, {}
        for connection in self._server.connections:
            if (awaited := _awaited_from_client(connection)) is None:
                continue
            wait = before.get(connection)
            if wait is None or wait[:2] != awaited:
                wait = Stall(*awaited, now)
            self._stalls[connection] = wait
            if now - wait.since >= self._allowed(connection, wait.waiting_for):
                _time_out(connection, wait.waiting_for)

    def _allowed(self, connection: RequestHandler, what: str) -> float:
        if what == HEAD:
            return self._timeouts.head
        if what == ANSWER:
            return self._timeouts.unread
        request = connection._current_request  # noqa: SLF001 - see `_awaited`
        come = request.content.total_raw_bytes if request else 0
        return self._timeouts.body + come / MIN_BODY_RATE


def _awaited_from_client(connection: RequestHandler) -> tuple[str, int] | None:
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


def _time_out(connection: RequestHandler, what: str) -> None:
    request = connection._current_request  # noqa: SLF001 - see `_awaited`
    if what == BODY and request is not None:
        # Whoever reads it is told, and can tell the client; what comes later is not looked at.
        request.content.set_exception(
            RequestTooSlow("The body of the request took too long to arrive (`timeouts.body`).")
        )
        request.content.feed_eof()
        connection.close()
    elif what == HEAD:
        connection.force_close()
    elif connection.transport is not None:
        connection.transport.abort()
