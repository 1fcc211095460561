"""The state of the server's connections, and closing them on shutdown.

aiohttp has no public way to read that state: this module and `client_timeouts` use its private one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

_POLL_SECONDS = 0.05
_TLS_CLOSE_SECONDS = 1.0
"""How long a client may take to answer TLS' close notification."""


def is_busy(connection: RequestHandler) -> bool:
    """Whether a connection has a request in progress, queued or arriving."""
    if connection.transport is None:
        return False
    asked = connection._current_request or connection._messages  # noqa: SLF001 - see above
    return bool(asked) or _has_unread_bytes(connection.transport)


def is_unused(connection: RequestHandler) -> bool:
    """Whether a connection has had no request yet: one probably follows."""
    return connection.transport is not None and not connection._request_count  # noqa: SLF001 - see above


def _has_unread_bytes(transport: asyncio.BaseTransport) -> bool:
    """Whether the socket has received bytes that are not read yet."""
    own = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, ValueError, AttributeError):
        count = fcntl.ioctl(own.fileno(), termios.FIONREAD, bytes(4))
        return bool(struct.unpack("i", count)[0])
    return False


def close_idle(server: web.Server) -> bool:
    """Close idle connections; return whether none had a request arriving.

    At the first that has, it stops: that one and the rest stay open.
    """
    return all(_close_if_idle(it) for it in server.connections)


def _close_if_idle(connection: RequestHandler) -> bool:
    """Close a connection if it is idle; return False if it is not.

    One that has bytes to send stays open.
    """
    transport = connection.transport
    if transport is None or transport.get_write_buffer_size():
        return True
    if connection.ssl_context:
        return not is_busy(connection)
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
        if is_busy(connection):
            return False
        # Directly: through the loop it would take a turn or two, and a request could arrive.
        with contextlib.suppress(OSError):
            same.shutdown(socket.SHUT_WR)
    connection.force_close()
    return True


async def close_all(server: web.Server | None) -> None:
    """Close all connections, each once its response is sent."""
    if server is None:
        return
    connections = server.connections
    transports = [it.transport for it in connections if it.transport is not None]
    # No await up to here: no request has arrived in between.
    server.pre_shutdown()
    await server.shutdown(None)
    while any(it.get_write_buffer_size() for it in transports):  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(_POLL_SECONDS)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TLS_CLOSE_SECONDS):
            await _wait_closed(connections)


async def _wait_closed(connections: Iterable[RequestHandler]) -> None:
    """Wait until connections are closed: TLS sends a close notification after the last byte."""
    for connection in connections:
        while connection._manager is not None:  # noqa: ASYNC110, SLF001 - no event to wait for
            await asyncio.sleep(_POLL_SECONDS)
