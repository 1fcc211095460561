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
def reserve_port(server: Server) -> Iterator[int]:
    """Hold the TCP address that settings name, if it is free; gives the port, which for 0 is any.

    What is held never listens: the system leads connections to those that do. Raises
    `CannotListenError`.
    """
    host, port = server.host, server.port
    with contextlib.ExitStack() as sockets:
        with _map_errors(server):
            for address in () if host == HOST_NONE else _addresses(host, port):
                _assert_free(address, port)
                if sock := _hold(address, port):
                    sockets.enter_context(sock)
                    port = port or sock.getsockname()[1]
        yield port


def _addresses(host: str, port: int) -> list[_Address]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(found))


def _assert_free(address: _Address, port: int) -> None:
    """See that nobody listens there, who would get a part of our requests; raises `OSError`."""
    if sock := _bind(address, port, socket.SO_REUSEADDR):
        sock.close()


def _hold(address: _Address, port: int) -> socket.socket | None:
    try:
        return _bind(address, port, socket.SO_REUSEPORT)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    # Connections of an earlier process have not quite ended. Held like this, somebody else may
    # listen there as long as no worker does.
    return _bind(address, port, socket.SO_REUSEPORT, socket.SO_REUSEADDR)


def _bind(address: _Address, port: int, *options: int) -> socket.socket | None:
    """Bind a socket; None where the machine has none of that kind."""
    family, kind, protocol, _, sockaddr = address
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError:
        return None
    try:
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((sockaddr[0], port, *sockaddr[2:]))
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _map_errors(server: Server) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise tcp_error(server, describe_os_error(error)) from error
