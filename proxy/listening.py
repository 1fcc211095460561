"""Where the gateway listens: makes the sockets, serves on them, and closes them without a loss.

A process makes its own, or is given those that another has made and shares.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import socket
import ssl
import stat
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy.sections import NO_TCP, Server, Timeouts
from proxy.tls import Tls

_BACKLOG = 1024
_ANSWERS_SECONDS = 1.0
_HANDSHAKE_SECONDS = 0.5
"""How long a handshake that is under way when the listener closes is waited for."""
_TURNS = 3
"""Of asyncio's loop, from taking a connection to having made something of it."""
_SO_ATTACH_FILTER = 26
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)
"""The shortest packet filter: return 0 bytes of whatever comes (BPF_RET | BPF_K)."""


class CannotListenError(Exception):
    """The message says where it cannot be listened, the system's reason, and what to do."""


@dataclass(slots=True)
class Listener:
    """A socket that listens.

    `file` is that of a unix socket we made: its path, device and inode. `shared`: other processes
    take connections from the very same socket, so that nothing of it is ours to end.
    """

    socket: socket.socket
    file: tuple[str, int, int] | None = None
    shared: bool = False

    @property
    def is_unix(self) -> bool:
        """Tell whether it is a unix socket."""
        return self.socket.family == socket.AF_UNIX

    def remove(self) -> None:
        """Delete the file of a unix socket, unless another gateway's stands there by now."""
        if self.file is None:
            return
        path, *ours = self.file
        self.file = None  # the number of a file that is gone may soon be another's
        with contextlib.suppress(OSError):
            found = Path(path).lstat()
            if [found.st_dev, found.st_ino] == ours:
                Path(path).unlink()

    def close(self) -> None:
        """Listen no more."""
        self.remove()
        self.socket.close()


def listeners(server: Server, *, reuse_port: bool = False) -> list[Listener]:
    """Make the sockets that settings ask for, TCP's first; raises `CannotListenError`.

    With `reuse_port` other processes may listen at the same TCP address, each on its own socket.
    """
    made = tcp_listeners(server, reuse_port=reuse_port)
    try:
        return made + unix_listeners(server)
    except CannotListenError:
        for listener in made:
            listener.close()
        raise


def tcp_listeners(server: Server, *, reuse_port: bool = False) -> list[Listener]:
    """Make the TCP sockets: one for each address that the host has."""
    if server.host == NO_TCP:
        return []
    made: list[Listener] = []
    port, failure = server.port, OSError(errno.EADDRNOTAVAIL, "")
    try:
        for family, address in _addresses(server.host, port):
            # Any free port is the same one at every address.
            place = (address[0], port, *address[2:])
            try:
                made.append(_bound(family, place, reuse_port=reuse_port))
            except OSError as error:
                # A name may have an address that this machine lacks, such as IPv6 in a container.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                failure = error
            else:
                port = made[0].socket.getsockname()[1]
        if not made:
            raise failure
    except (OSError, UnicodeError) as error:
        for listener in made:
            listener.close()
        place_named = f"[{server.host}]" if ":" in server.host else server.host
        raise CannotListenError(
            f"{place_named}:{server.port}: {_reason(error)}. Try another --host or --port."
        ) from error
    return made


def _addresses(host: str, port: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(found):
        yield family, address


def _bound(family: int, place: tuple[Any, ...], *, reuse_port: bool) -> Listener:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(place)
        made.listen(_BACKLOG)
        made.settimeout(0)
    except OSError:
        made.close()
        raise
    return Listener(made)


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return "that is no host name"
    # A resolver's numbers are negative.
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def unix_listeners(server: Server) -> list[Listener]:
    """Make the unix socket, if settings name one."""
    if not server.socket:
        return []
    path, made = Path(server.socket), socket.socket(socket.AF_UNIX)
    try:
        _make_way(path)
        # Others may connect from the moment that it is bound: its mode must hold by then.
        before = os.umask(0o777 & ~int(server.socket_mode, 8))
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        made.listen(_BACKLOG)
        made.settimeout(0)
        found = path.lstat()
    except (OSError, CannotListenError) as error:
        made.close()
        raise CannotListenError(f"the socket {path}: {_unix_reason(path, error)}") from error
    return [Listener(made, (str(path), found.st_dev, found.st_ino))]


def _unix_reason(path: Path, error: Exception) -> str:
    if isinstance(error, CannotListenError):
        return str(error)
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}. Make it, or set server.socket to another path."
    return f"{_reason(error)}. Try another --socket."


def _make_way(path: Path) -> None:
    """Delete a socket that a dead process has left; raises where something else stands there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListenError(
            "there is something that is no socket. Move it away, or try another --socket."
        )
    if _answers(path):
        raise CannotListenError("another process listens there. Stop it, or try another --socket.")
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_ANSWERS_SECONDS)
        try:
            asking.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (BlockingIOError, TimeoutError):
            return True  # it has too much to do
    return True


class Door(web.BaseSite):
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
        self._given: socket.socket | None = None
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
        self._given = self._listener.socket.dup()
        given = {**self._options, "sock": self._given, "backlog": _BACKLOG}
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
        await self._let_through()
        await self.stop()
        if not self._listener.shared:
            _deafen(self._listener.socket)
            await self._take_the_rest()
        self._listener.socket.close()
        if self._ssl_context:
            await asyncio.sleep(_HANDSHAKE_SECONDS)

    async def _let_through(self) -> None:
        """Have asyncio go on with what it has taken: it drops that when its server is closed."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.BaseEventLoop) and self._given:
            loop.remove_reader(self._given)
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    async def _take_the_rest(self) -> None:
        loop, taken = asyncio.get_running_loop(), []
        while connection := _next(self._listener.socket):
            connecting = loop.connect_accepted_socket(self._factory, connection, **self._options)
            taken.append(asyncio.ensure_future(connecting))
        if taken:
            await asyncio.wait(taken, timeout=_HANDSHAKE_SECONDS)


def _next(listening: socket.socket) -> socket.socket | None:
    while True:
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, OSError) as error:
            if error.errno == errno.ECONNABORTED:
                continue
            return None
        connection.settimeout(0)
        return connection


def _deafen(listening: socket.socket) -> None:
    """Have the kernel drop what knocks from now on, until the socket is closed.

    What it took in between the last look into the queue and the end would be reset, although its
    client has been let in and may have sent an order. Unheard, a client knocks again a second
    later, and is told that nobody is there, or is let in by another process.
    """
    if listening.family == socket.AF_UNIX or sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_DROP)
    told = struct.pack("HP", 1, ctypes.addressof(program))
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, told)


async def opened(
    runner: web.BaseRunner,
    listening: Sequence[Listener],
    tls: Tls | None,
    timeouts: Timeouts,
) -> list[Door]:
    """Serve on sockets, those of TCP with TLS if there is any."""
    context = tls.context if tls else None
    doors = [Door(runner, listener, context, timeouts) for listener in listening]
    for door in doors:
        await door.start()
    return doors


async def closed(doors: Sequence[Door]) -> None:
    """Close doors: whoever has knocked is let in, nobody else."""
    await asyncio.gather(*(door.close() for door in doors))
