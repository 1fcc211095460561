"""Listening sockets: opened, shared between processes, and removed."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.settings.schema import HOST_NONE, Server

_BACKLOG = 1024
_CONNECT_SECONDS = 1.0


class CannotListenError(Exception):
    """An address cannot be used. The message says which, the system's reason, and what to do."""


@dataclass(slots=True)
class Listener:
    """A listening socket.

    `file` identifies the file of a unix socket that we created: path, device and inode. `shared`:
    other processes accept connections from the same socket, so it must not be shut down.
    """

    socket: socket.socket
    file: tuple[str, int, int] | None = None
    shared: bool = False

    @property
    def is_unix(self) -> bool:
        """Whether it is a unix socket."""
        return self.socket.family == socket.AF_UNIX

    def remove(self) -> None:
        """Delete a unix socket's file, unless another gateway has replaced it."""
        if self.file is None:
            return
        path, *ours = self.file
        self.file = None  # the inode of a deleted file may be reused
        with contextlib.suppress(OSError):
            found = Path(path).lstat()
            if [found.st_dev, found.st_ino] == ours:
                Path(path).unlink()

    @classmethod
    def from_descriptor(cls, number: int) -> Listener:
        """Return the listener of an inherited socket, given its file descriptor."""
        return cls(socket.socket(fileno=number), shared=True)

    def close(self) -> None:
        """Stop listening."""
        self.remove()
        self.socket.close()


def open_listeners(server: Server, *, reuse_port: bool = False) -> list[Listener]:
    """Open the sockets of the settings, TCP first. Raises `CannotListenError`.

    With `reuse_port` other processes may listen on the same TCP address (SO_REUSEPORT).
    """
    made = open_tcp_listeners(server, reuse_port=reuse_port)
    try:
        return made + open_unix_listeners(server)
    except CannotListenError:
        for listener in made:
            listener.close()
        raise


def open_tcp_listeners(server: Server, *, reuse_port: bool = False) -> list[Listener]:
    """Open the TCP sockets, one for each address of the host. Raises `CannotListenError`."""
    if server.host == HOST_NONE:
        return []
    made: list[Listener] = []
    port, failure = server.port, OSError(errno.EADDRNOTAVAIL, "")
    try:
        for family, address in _addresses(server.host, port):
            # With port 0, all addresses use the port that the first one got.
            bound_to = (address[0], port, *address[2:])
            try:
                made.append(_bind(family, bound_to, reuse_port=reuse_port))
            except OSError as error:
                # A name can resolve to an address that this machine lacks (IPv6 in a container).
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
        raise tcp_error(server, describe_os_error(error)) from error
    return made


def _addresses(host: str, port: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(found):
        yield family, address


def _bind(family: int, address: tuple[Any, ...], *, reuse_port: bool) -> Listener:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(_BACKLOG)
        made.settimeout(0)
    except OSError:
        made.close()
        raise
    return Listener(made)


def tcp_error(server: Server, reason: str) -> CannotListenError:
    """Return the error for a TCP address that cannot be used."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return CannotListenError(f"{host}:{server.port}: {reason}. Try another --host or --port.")


def describe_os_error(error: Exception) -> str:
    """Return the system's reason why an address cannot be used."""
    if not isinstance(error, OSError):
        return "not a valid host name"
    # The resolver's error numbers are negative.
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def open_unix_listeners(server: Server) -> list[Listener]:
    """Open the unix socket, if the settings name one. Raises `CannotListenError`."""
    if not server.socket:
        return []
    path, made = Path(server.socket), socket.socket(socket.AF_UNIX)
    try:
        _remove_stale_socket(path)
        # Others can connect once it is bound, so its mode must be right by then.
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
        raise CannotListenError(f"the unix socket {path}: {_unix_reason(path, error)}") from error
    return [Listener(made, (str(path), found.st_dev, found.st_ino))]


def _unix_reason(path: Path, error: Exception) -> str:
    if isinstance(error, CannotListenError):
        return str(error)
    if not path.parent.is_dir():
        return (
            f"the folder {path.parent} does not exist. Create it, or set server.socket to another "
            "path."
        )
    return f"{describe_os_error(error)}. Try another --socket."


def _remove_stale_socket(path: Path) -> None:
    """Delete the socket file of a dead process. Raises `CannotListenError` for anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListenError(
            "the path exists and is not a socket. Move it away, or try another --socket."
        )
    if _has_listener(path):
        raise CannotListenError(
            "another process is listening on it. Stop that process, or try another --socket."
        )
    path.unlink(missing_ok=True)


def _has_listener(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_SECONDS)
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (BlockingIOError, TimeoutError):
            return True  # its backlog is full
    return True
