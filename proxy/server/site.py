"""Serves on the sockets that listen, and closes them without a loss."""

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
"""How long a handshake that is under way when the listener closes is waited for."""
_SHARED_CLOSE_SECONDS = 0.2
_ACCEPT_LOOP_TURNS = 3
"""Of asyncio's loop, from taking a connection to having made something of it."""
_TCP_HANDSHAKE_SECONDS = 0.05
"""How long a connection that is being made when the listener closes may take: a round trip."""
_SO_ATTACH_FILTER = 26
_NO_SYN = b"".join(
    struct.pack("HBBI", *line)
    for line in (
        (0x30, 0, 0, 13),  # load the byte of TCP's flags
        (0x54, 0, 0, 0x12),  # of these SYN and ACK
        (0x15, 0, 1, 0x02),  # if it is SYN alone
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # else take all of it
    )
)
"""A packet filter, as bpf(4) has it, that takes everything but what begins a connection."""


class GracefulSite(web.BaseSite):
    """Takes connections from one socket, and hands them to the server."""

    def __init__(
        self,
        runner: web.BaseRunner,
        listener: Listener,
        tls: ssl.SSLContext | None,
        timeouts: Timeouts,
    ) -> None:
        # A unix socket leads nowhere that could be listened to.
        super().__init__(runner, ssl_context=None if listener.is_unix else tls, backlog=_BACKLOG)
        self._listener = listener
        self._loop_socket: socket.socket | None = None
        self._options: dict[str, Any] = {"ssl": self._ssl_context}
        if self._ssl_context:
            self._options["ssl_handshake_timeout"] = timeouts.head
            # Answers that are still being taken in are part of it.
            self._options["ssl_shutdown_timeout"] = timeouts.unread

    @property
    def name(self) -> str:
        """Say where it is."""
        return str(self._listener.socket.getsockname())

    async def start(self) -> None:
        """Take connections from now on."""
        await super().start()
        loop = asyncio.get_running_loop()
        # The loop closes what it is given; what is left in the queue is taken from ours.
        self._loop_socket = self._listener.socket.dup()
        given = {**self._options, "sock": self._loop_socket, "backlog": _BACKLOG}
        if not self._listener.is_unix:
            self._server = await loop.create_server(self._factory, **given)
            return
        if sys.version_info >= (3, 13) and isinstance(loop, asyncio.BaseEventLoop):
            given["cleanup_socket"] = False  # that is for whoever made it
        self._server = await loop.create_unix_server(self._factory, **given)

    @property
    def _factory(self) -> Callable[[], asyncio.Protocol]:
        assert self._runner.server is not None  # noqa: S101 - it is set up
        return self._runner.server

    async def close(self) -> None:
        """Take what has already knocked, and nothing after it."""
        self._listener.remove()
        if self._listener.shared:
            # Whoever made it deletes its file by then; with the last of us its queue is lost.
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
        """Have asyncio go on with what it has taken: it drops that when its server is closed."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.BaseEventLoop) and self._loop_socket:
            loop.remove_reader(self._loop_socket)
            for _ in range(_ACCEPT_LOOP_TURNS):
                await asyncio.sleep(0)

    async def _drain_backlog(self) -> None:
        loop, taken = asyncio.get_running_loop(), []
        while connection := _accept(self._listener.socket):
            connecting = loop.connect_accepted_socket(self._factory, connection, **self._options)
            taken.append(asyncio.ensure_future(connecting))
        if taken:
            await asyncio.wait(taken, timeout=_TLS_HANDSHAKE_SECONDS)


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
    """Have the kernel drop what begins a connection from now on; tells whether it can.

    What it let in between the last look into the queue and the end would be reset, although its
    client may have sent an order by then. Unheard, a client knocks again a second later, and is
    told that nobody is there, or is let in by another process.
    """
    if listening.family == socket.AF_UNIX or sys.platform != "linux":
        return False
    import ctypes  # noqa: PLC0415 - a gateway starts sooner without it

    program = ctypes.create_string_buffer(_NO_SYN)
    told = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, told)
    except OSError:
        return False
    return True


async def start_sites(
    runner: web.BaseRunner,
    listening: Sequence[Listener],
    tls: ReloadableTls | None,
    timeouts: Timeouts,
) -> list[GracefulSite]:
    """Serve on sockets, those of TCP with TLS if there is any."""
    context = tls.context if tls else None
    doors = [GracefulSite(runner, listener, context, timeouts) for listener in listening]
    for door in doors:
        await door.start()
    return doors


async def close_sites(doors: Sequence[GracefulSite]) -> None:
    """Close doors: whoever has knocked is let in, nobody else."""
    await asyncio.gather(*(door.close() for door in doors))
