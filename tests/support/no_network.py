"""A pytest plugin that lets nothing out of this machine, for runs with a defence taken out."""

from __future__ import annotations

import errno
import socket
import sys
from ipaddress import ip_address
from typing import Any


def pytest_configure() -> None:
    """Refuse, from now on, names that have to be asked of others, and addresses elsewhere."""
    sys.addaudithook(_stay)


def _stay(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple) and not _is_here(args[1][0]):
        raise OSError(errno.ENETUNREACH, "not out of this machine")
    if (
        event == "socket.getaddrinfo"
        and args[0] not in (None, "localhost")
        and not _is_here(args[0])
    ):
        raise socket.gaierror(socket.EAI_NONAME, "not out of this machine")


def _is_here(host: str | bytes) -> bool:
    try:
        address = ip_address(host.decode() if isinstance(host, bytes) else host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
