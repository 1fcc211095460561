"""What the server's connections are at, when it is time to close them.

aiohttp has no public way to ask a connection that: this and `patience` are where it is asked.
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
"""How long the other end of TLS may take to say goodbye once it has everything."""


def is_busy(connection: RequestHandler) -> bool:
    """Tell whether a request is answered on a connection, waits there, or is just arriving."""
    if connection.transport is None:
        return False
    asked = connection._current_request or connection._messages  # noqa: SLF001 - see above
    return bool(asked) or _has_unread_bytes(connection.transport)


def is_unused(connection: RequestHandler) -> bool:
    """Tell whether nothing has been asked on a connection yet: it was made for something."""
    return connection.transport is not None and not connection._request_count  # noqa: SLF001 - see above


def _has_unread_bytes(transport: asyncio.BaseTransport) -> bool:
    """Tell whether bytes have come that nobody has read."""
    own = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, ValueError, AttributeError):
        count = fcntl.ioctl(own.fileno(), termios.FIONREAD, bytes(4))
        return bool(struct.unpack("i", count)[0])
    return False


def close_idle(server: web.Server) -> bool:
    """Close the connections, which idle; tells whether none of them has just been asked something.

    One that has is left open, and so are those behind it.
    """
    return all(_close_if_idle(it) for it in server.connections)


def _close_if_idle(connection: RequestHandler) -> bool:
    """Close a connection if it idles; False where it does not. What has bytes to send is left."""
    transport = connection.transport
    if transport is None or transport.get_write_buffer_size():
        return True
    if connection.ssl_context:
        return not is_busy(connection)
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
        if is_busy(connection):
            return False
        # At once: by way of the loop it would take a turn or two, in which a request may come.
        with contextlib.suppress(OSError):
            same.shutdown(socket.SHUT_WR)
    connection.force_close()
    return True


async def close_all(server: web.Server | None) -> None:
    """Close all connections, each once its bytes have gone."""
    if server is None:
        return
    connections = server.connections
    transports = [it.transport for it in connections if it.transport is not None]
    # Up to here nothing has been waited for: no request has come in between.
    server.pre_shutdown()
    await server.shutdown(None)
    while any(it.get_write_buffer_size() for it in transports):  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(_POLL_SECONDS)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TLS_CLOSE_SECONDS):
            await _wait_closed(connections)


async def _wait_closed(connections: Iterable[RequestHandler]) -> None:
    """Wait until connections are no more: TLS has bytes of its own to send behind the last."""
    for connection in connections:
        while connection._manager is not None:  # noqa: ASYNC110, SLF001 - nothing tells
            await asyncio.sleep(_POLL_SECONDS)
