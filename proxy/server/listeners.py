"""The sockets at which the gateway listens: made, shared between processes, and removed."""

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
    """The message says where it cannot be listened, the system's reason, and what to do."""


@dataclass(slots=True)
class Listener:
    """A socket that listens.

    `file` is that of a unix socket we made: its path, device and inode. `shared`: other processes
    take connections from the very same socket, which is not ours to end.
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

    @classmethod
    def from_descriptor(cls, number: int) -> Listener:
        """Give the socket that another process has made, by its number here."""
        return cls(socket.socket(fileno=number), shared=True)

    def close(self) -> None:
        """Listen no more."""
        self.remove()
        self.socket.close()


def open_listeners(server: Server, *, reuse_port: bool = False) -> list[Listener]:
    """Make the sockets that settings ask for, TCP's first; raises `CannotListenError`.

    With `reuse_port` other processes may listen at the same TCP address, each on its own socket.
    """
    made = open_tcp_listeners(server, reuse_port=reuse_port)
    try:
        return made + open_unix_listeners(server)
    except CannotListenError:
        for listener in made:
            listener.close()
        raise


def open_tcp_listeners(server: Server, *, reuse_port: bool = False) -> list[Listener]:
    """Make the TCP sockets: one for each address that the host has."""
    if server.host == HOST_NONE:
        return []
    made: list[Listener] = []
    port, failure = server.port, OSError(errno.EADDRNOTAVAIL, "")
    try:
        for family, address in _addresses(server.host, port):
            # Any free port is the same one at every address.
            place = (address[0], port, *address[2:])
            try:
                made.append(_bind(family, place, reuse_port=reuse_port))
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
        raise tcp_error(server, describe_os_error(error)) from error
    return made


def _addresses(host: str, port: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(found):
        yield family, address


def _bind(family: int, place: tuple[Any, ...], *, reuse_port: bool) -> Listener:
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


def tcp_error(server: Server, reason: str) -> CannotListenError:
    """Give what is raised where the TCP address cannot be listened at."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return CannotListenError(f"{host}:{server.port}: {reason}. Try another --host or --port.")


def describe_os_error(error: Exception) -> str:
    """Say why an address cannot be used, in the system's words."""
    if not isinstance(error, OSError):
        return "that is no host name"
    # A resolver's numbers are negative.
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def open_unix_listeners(server: Server) -> list[Listener]:
    """Make the unix socket, if settings name one."""
    if not server.socket:
        return []
    path, made = Path(server.socket), socket.socket(socket.AF_UNIX)
    try:
        _remove_stale_socket(path)
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
    return f"{describe_os_error(error)}. Try another --socket."


def _remove_stale_socket(path: Path) -> None:
    """Delete a socket that a dead process has left; raises where something else stands there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListenError(
            "there is something that is no socket. Move it away, or try another --socket."
        )
    if _has_listener(path):
        raise CannotListenError("another process listens there. Stop it, or try another --socket.")
    path.unlink(missing_ok=True)


def _has_listener(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_CONNECT_SECONDS)
        try:
            asking.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (BlockingIOError, TimeoutError):
            return True  # it has too much to do
    return True
