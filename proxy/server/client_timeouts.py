"""Client timeouts: for sending headers, for sending a body, for reading the response.

A sweep checks all connections once a second, so requests pay nothing for it. It protects against
slow clients (Slowloris).
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
"""Minimum number of sweeps within the shortest timeout."""
MIN_BODY_RATE = 16 * 1024
"""Minimum upload rate, in bytes a second: it extends the timeout of a large body."""
HEAD, BODY, ANSWER = "head", "body", "answer"


class RequestTooSlow(GatewayError):
    """The client sent its body too slowly."""

    status = 408
    type = "timeout_error"
    code = "request_too_slow"


class Stall(NamedTuple):
    """What a connection waits for from its client, its progress, and since when there is none."""

    waiting_for: str
    progress: int
    since: float


@asynccontextmanager
async def enforce_client_timeouts(server: web.Server, timeouts: Timeouts) -> AsyncIterator[None]:
    """Close connections that are too slow, while the block runs."""
    task = asyncio.create_task(_sweep_forever(ClientTimeouts(server, timeouts), timeouts))
    try:
        yield
    finally:
        task.cancel()


async def _sweep_forever(watcher: ClientTimeouts, timeouts: Timeouts) -> None:
    shortest = min(timeouts.head, timeouts.body, timeouts.unread)
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(_SWEEP_SECONDS, shortest / _SWEEPS_PER_TIMEOUT))
        watcher.sweep(loop.time())


class ClientTimeouts:
    """Tracks the stalled connections of a server."""

    def __init__(self, server: web.Server, timeouts: Timeouts) -> None:
        self._server = server
        self._timeouts = timeouts
        self._stalls: dict[RequestHandler, Stall] = {}

    def sweep(self, now: float) -> None:
        """Check all connections, and close those that exceed a timeout."""
        before, self._stalls = self._stalls, {}
        for connection in self._server.connections:
            if (awaited := _awaited_from_client(connection)) is None:
                continue
            stall = before.get(connection)
            if stall is None or stall[:2] != awaited:
                stall = Stall(*awaited, now)
            self._stalls[connection] = stall
            if now - stall.since >= self._allowed(connection, stall.waiting_for):
                _time_out(connection, stall.waiting_for)

    def _allowed(self, connection: RequestHandler, what: str) -> float:
        if what == HEAD:
            return self._timeouts.head
        if what == ANSWER:
            return self._timeouts.unread
        request = connection._current_request  # noqa: SLF001 - see `_awaited_from_client`
        received = request.content.total_raw_bytes if request else 0
        return self._timeouts.body + received / MIN_BODY_RATE


def _awaited_from_client(connection: RequestHandler) -> tuple[str, int] | None:
    """Return what a connection waits for from its client, with its progress; None if nothing.

    Headers of a second request count as idle time, which aiohttp limits itself.
    """
    if connection.transport is None:
        return None
    # aiohttp has no public way to read a connection's state.
    request, count = connection._current_request, connection._request_count  # noqa: SLF001
    if unread := connection.transport.get_write_buffer_size():
        written = request.writer.output_size if request else 0
        return ANSWER, written - unread
    if request is not None and not request.content.is_eof():
        return BODY, count
    return None if count else (HEAD, 0)


def _time_out(connection: RequestHandler, what: str) -> None:
    request = connection._current_request  # noqa: SLF001 - see `_awaited_from_client`
    if what == BODY and request is not None:
        # The handler that reads the body gets the error and can answer; later bytes are ignored.
        request.content.set_exception(
            RequestTooSlow("The request body arrived too slowly (timeouts.body).")
        )
        request.content.feed_eof()
        connection.close()
    elif what == HEAD:
        connection.force_close()
    elif connection.transport is not None:
        connection.transport.abort()
