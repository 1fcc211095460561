"""The address at which workers listen, held by the supervisor while they come and go."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

from proxy.server.listeners import describe_os_error, tcp_error
from proxy.settings.schema import HOST_NONE, Server

_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[object, ...]]


@contextlib.contextmanager
def reserved(server: Server) -> Iterator[int]:
    """Hold the TCP address that settings name, if it is free; gives the port, which for 0 is any.

    What is held never listens: the system leads connections to those that do. Raises
    `CannotListenError`.
    """
    host, port = server.host, server.port
    with contextlib.ExitStack() as held:
        with _translated(server):
            for address in () if host == HOST_NONE else _addresses(host, port):
                _free(address, port)
                if it := _held(address, port):
                    held.enter_context(it)
                    port = port or it.getsockname()[1]
        yield port


def _addresses(host: str, port: int) -> list[_Address]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(found))


def _free(address: _Address, port: int) -> None:
    """See that nobody listens there, who would get a part of our requests; raises `OSError`."""
    if alone := _bound(address, port, socket.SO_REUSEADDR):
        alone.close()


def _held(address: _Address, port: int) -> socket.socket | None:
    try:
        return _bound(address, port, socket.SO_REUSEPORT)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    # Connections of an earlier process have not quite ended. Held like this, somebody else may
    # listen there as long as no worker does.
    return _bound(address, port, socket.SO_REUSEPORT, socket.SO_REUSEADDR)


def _bound(address: _Address, port: int, *options: int) -> socket.socket | None:
    """Bind a socket; None where the machine has none of that kind."""
    family, kind, protocol, _, place = address
    try:
        made = socket.socket(family, kind, protocol)
    except OSError:
        return None
    try:
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((place[0], port, *place[2:]))
    except BaseException:
        made.close()
        raise
    return made


@contextlib.contextmanager
def _translated(server: Server) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise tcp_error(server, describe_os_error(error)) from error
