"""Serves on listening sockets, and closes them without losing a connection."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from proxy.server.listeners import Listener
from proxy.settings.schema import Timeouts
from proxy.settings.tls import ReloadableTls

_BACKLOG = 1024
_TLS_HANDSHAKE_SECONDS = 0.5
"""How long a TLS handshake in progress may take when the listener closes."""
_SHARED_CLOSE_SECONDS = 0.2
_ACCEPT_LOOP_TURNS = 3
"""Turns of asyncio's loop from accepting a connection to having a transport for it."""
_TCP_HANDSHAKE_SECONDS = 0.05
"""How long a TCP handshake in progress may take when the listener closes: a round trip."""
_SO_ATTACH_FILTER = 26
_NO_SYN = b"".join(
    struct.pack("HBBI", *line)
    for line in (
        (0x30, 0, 0, 13),  # load the byte of TCP's flags
        (0x54, 0, 0, 0x12),  # mask SYN and ACK
        (0x15, 0, 1, 0x02),  # if it is SYN alone
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # else accept all of it
    )
)
"""A classic BPF program that drops packets which begin a connection (SYN without ACK)."""


class GracefulSite(web.BaseSite):
    """Accepts connections from one socket; closing it serves those in the accept backlog."""

    def __init__(
        self,
        runner: web.BaseRunner,
        listener: Listener,
        tls: ssl.SSLContext | None,
        timeouts: Timeouts,
    ) -> None:
        # No TLS on a unix socket: its traffic does not leave the machine.
        super().__init__(runner, ssl_context=None if listener.is_unix else tls, backlog=_BACKLOG)
        self._listener = listener
        self._loop_socket: socket.socket | None = None
        self._options: dict[str, Any] = {"ssl": self._ssl_context}
        if self._ssl_context:
            self._options["ssl_handshake_timeout"] = timeouts.head
            # It includes responses that the client is still reading.
            self._options["ssl_shutdown_timeout"] = timeouts.unread

    @property
    def name(self) -> str:
        """The socket's address."""
        return str(self._listener.socket.getsockname())

    async def start(self) -> None:
        """Start accepting connections."""
        await super().start()
        loop = asyncio.get_running_loop()
        # The loop closes the socket it gets; the backlog is drained through ours.
        self._loop_socket = self._listener.socket.dup()
        given = {**self._options, "sock": self._loop_socket, "backlog": _BACKLOG}
        if not self._listener.is_unix:
            self._server = await loop.create_server(self._factory, **given)
            return
        if sys.version_info >= (3, 13) and isinstance(loop, asyncio.BaseEventLoop):
            given["cleanup_socket"] = False  # the listener does that
        self._server = await loop.create_unix_server(self._factory, **given)

    @property
    def _factory(self) -> Callable[[], asyncio.Protocol]:
        assert self._runner.server is not None  # noqa: S101 - it is set up
        return self._runner.server

    async def close(self) -> None:
        """Stop listening: connections in the accept backlog are served, new ones are refused."""
        self._listener.remove()
        if self._listener.shared:
            # The process that opened it has deleted its file by then. The backlog is lost with the
            # last process that holds the socket.
            await asyncio.sleep(_SHARED_CLOSE_SECONDS)
        elif _drop_new_syns(self._listener.socket):
            await asyncio.sleep(_TCP_HANDSHAKE_SECONDS)
        await self._finish_accepts()
        await self.stop()
        await self._drain_backlog()
        self._listener.socket.close()
        if self._ssl_context:
            await asyncio.sleep(_TLS_HANDSHAKE_SECONDS)

    async def _finish_accepts(self) -> None:
        """Wait for asyncio to finish the connections it has accepted: closing would drop them."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.BaseEventLoop) and self._loop_socket:
            loop.remove_reader(self._loop_socket)
            for _ in range(_ACCEPT_LOOP_TURNS):
                await asyncio.sleep(0)

    async def _drain_backlog(self) -> None:
        loop, pending = asyncio.get_running_loop(), []
        while connection := _accept(self._listener.socket):
            connecting = loop.connect_accepted_socket(self._factory, connection, **self._options)
            pending.append(asyncio.ensure_future(connecting))
        if pending:
            await asyncio.wait(pending, timeout=_TLS_HANDSHAKE_SECONDS)


def _accept(listening: socket.socket) -> socket.socket | None:
    while True:
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, OSError) as error:
            if error.errno == errno.ECONNABORTED:
                continue
            return None
        connection.settimeout(0)
        return connection


def _drop_new_syns(listening: socket.socket) -> bool:
    """Make the kernel drop new connection attempts; return whether it supports that.

    A connection that arrived between the last accept and the close would be reset, although its
    client may have sent a request by then. If its SYN is dropped, the client retries a second
    later and is refused, or accepted by another process.
    """
    if listening.family == socket.AF_UNIX or sys.platform != "linux":
        return False
    import ctypes  # noqa: PLC0415 - saves start-up time

    program = ctypes.create_string_buffer(_NO_SYN)
    filter_program = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_program)
    except OSError:
        return False
    return True


async def start_sites(
    runner: web.BaseRunner,
    listening: Sequence[Listener],
    tls: ReloadableTls | None,
    timeouts: Timeouts,
) -> list[GracefulSite]:
    """Serve on sockets; TCP sockets use TLS if it is configured."""
    context = tls.context if tls else None
    sites = [GracefulSite(runner, listener, context, timeouts) for listener in listening]
    for site in sites:
        await site.start()
    return sites


async def close_sites(sites: Sequence[GracefulSite]) -> None:
    """Stop listening: connections in the accept backlog are served, new ones are refused."""
    await asyncio.gather(*(site.close() for site in sites))
