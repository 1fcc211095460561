"""The host names under which the gateway answers: protection against DNS rebinding.

A web page can make its own host name resolve to 127.0.0.1, and then send requests to whatever
listens there as if it were the page's own origin. The browser still sends the page's host name in
`Host`, so a request for any other name than the gateway's is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from proxy.errors import GatewayError
from proxy.settings.schema import Server

_HOST_HEADER = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]{0,5})?")
_CACHE_SIZE = 64


class MisdirectedRequest(GatewayError):
    """The `Host` header names another host (421)."""

    status = 421
    type = "invalid_request_error"
    code = "unknown_host"


class AllowedHosts:
    """The allowed host names; every name, if the gateway listens publicly and none are configured.

    A web page cannot reach a Unix socket, so every name is allowed there too, unless names are
    configured: then a proxy that web pages can reach may be in front of the socket.
    """

    def __init__(self, server: Server) -> None:
        own = urlsplit(server.public_url).hostname
        self._names = frozenset({*map(str.lower, server.allowed_hosts), *([own] if own else [])})
        self._allow_any_on_unix = not server.allowed_hosts
        self._allow_any = self._allow_any_on_unix and not is_loopback(server.host)
        self._is_allowed = lru_cache(_CACHE_SIZE)(self._matches)

    def check(self, host: str | None, *, over_unix: bool = False) -> None:
        """Raise `MisdirectedRequest` if the `Host` header is not allowed. Browsers send one."""
        if over_unix and self._allow_any_on_unix:
            return
        if not (self._allow_any or host is None or self._is_allowed(host)):
            raise MisdirectedRequest(
                "The name in the Host header is not an allowed host name of this gateway. The "
                "operator can add it to `server.allowed_hosts`."
            )

    def _matches(self, host: str) -> bool:
        found = _HOST_HEADER.fullmatch(host.lower())
        name = found[1].strip("[]") if found else ""
        return is_loopback(name) or name in self._names


def is_loopback(host: str) -> bool:
    """Return whether an IP address or host name is this machine's loopback.

    >>> is_loopback("localhost"), is_loopback("127.0.0.9"), is_loopback("::1"), is_loopback("h")
    (True, True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
