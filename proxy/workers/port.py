"""Reservation of the TCP address: the supervisor holds it while workers come and go."""

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
    """Reserve the configured TCP address while workers come and go.

    Yields the port, chosen by the operating system for 0. The reserving socket never listens, so
    connections go to the workers. Raises `CannotListenError` if the address is in use.
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
    """Raise `OSError` if another process listens there: it would get a part of the requests."""
    if sock := _bind(address, port, socket.SO_REUSEADDR):
        sock.close()


def _hold(address: _Address, port: int) -> socket.socket | None:
    try:
        return _bind(address, port, socket.SO_REUSEPORT)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    # Connections of an earlier process are still closing. With this option another process could
    # listen there while no worker does.
    return _bind(address, port, socket.SO_REUSEPORT, socket.SO_REUSEADDR)


def _bind(address: _Address, port: int, *options: int) -> socket.socket | None:
    """Return a bound socket, or None if the machine does not support the address family."""
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
