"""By what names the gateway may be called: a page that rebinds its own name to ours is refused.

A page in a browser can have its own host's name resolve to 127.0.0.1 and then ask, as if it were of
its own origin, whatever listens there. The name that the browser calls still stands in `Host`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from proxy.errors import GatewayError
from proxy.settings.schema import Server

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]{0,5})?")
_MOST_KNOWN = 64


class Misdirected(GatewayError):
    """The request was meant for another host."""

    status = 421
    type = "invalid_request_error"
    code = "unknown_host"


class OwnNames:
    """The names of a gateway; any, where others can reach it and no names are set.

    No page reaches a unix socket, so that by one any name is good too, unless some are set: then a
    proxy may stand before it that pages can reach.
    """

    def __init__(self, server: Server) -> None:
        own = urlsplit(server.public_url).hostname
        self._names = frozenset({*map(str.lower, server.allowed_hosts), *([own] if own else [])})
        self._any_by_unix = not server.allowed_hosts
        self._any = self._any_by_unix and not is_loopback(server.host)
        self._knows = lru_cache(_MOST_KNOWN)(self._is_one)

    def check(self, host: str | None, *, by_unix: bool = False) -> None:
        """Hold a `Host` against the names; raises `Misdirected`. Every browser sends one."""
        if by_unix and self._any_by_unix:
            return
        if not (self._any or host is None or self._knows(host)):
            raise Misdirected(
                "This gateway is not known by the name in the header Host. If it should be, the "
                "operator can add that name to `server.allowed_hosts`."
            )

    def _is_one(self, host: str) -> bool:
        found = _HOST.fullmatch(host.lower())
        name = found[1].strip("[]") if found else ""
        return is_loopback(name) or name in self._names


def is_loopback(host: str) -> bool:
    """Tell whether an address, or a name, is this machine's own.

    >>> is_loopback("localhost"), is_loopback("127.0.0.9"), is_loopback("::1"), is_loopback("h")
    (True, True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
