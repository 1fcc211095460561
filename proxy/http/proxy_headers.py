"""The client's address and the URL it called: from the connection, or from a trusted proxy.

    X-Forwarded-For    the client is the first address from the right that is not a trusted proxy
    X-Forwarded-Proto  http or https; the last value, which the nearest proxy wrote
    X-Forwarded-Host   a host, with or without a port; the last value

From any other peer these headers are ignored, and so are values of another form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import islice

from aiohttp import web

from proxy.settings.schema import PEER_UNIX

_FOR, _PROTO, _HOST = "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"
_MAX_HOPS = 32
_CACHE_SIZE = 1024
_MAX_LENGTH = 255
_HOST_FORM = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{1,5})?")
_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::\d{1,5})?|([0-9.]{7,15}):\d{1,5}")
"""An address with a port, or in brackets, as some proxies write it."""


class TrustedProxies:
    """The proxies whose headers count; `trusted` holds addresses, networks, or the word `unix`."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._networks = [ip_network(it) for it in trusted if it != PEER_UNIX]
        self._unix = PEER_UNIX in trusted
        self.contains = lru_cache(_CACHE_SIZE)(self._matches)

    def _matches(self, peer: str) -> bool:
        """Return whether an address, or `unix`, belongs to a trusted proxy."""
        if peer == PEER_UNIX:
            return self._unix
        address = _parse_address(peer)
        return address is not None and any(ip_address(address) in it for it in self._networks)


_trusted_proxies = lru_cache(4)(TrustedProxies)


def _proxies_if_trusted(request: web.Request, trusted: tuple[str, ...]) -> TrustedProxies | None:
    """Return the trusted proxies if the peer is one of them."""
    if not trusted:
        return None
    proxies = _trusted_proxies(trusted)
    return proxies if proxies.contains(_peer_address(request)) else None


def _peer_address(request: web.Request) -> str:
    return PEER_UNIX if is_unix_socket(request) else request.remote or ""


def is_unix_socket(request: web.Request) -> bool:
    """Return whether a request came in on the Unix socket."""
    # Set even after the client has disconnected, unlike what aiohttp offers publicly.
    return isinstance(request._transport_sockname, str | bytes)  # noqa: SLF001 - see above


def client_address(request: web.Request, trusted: tuple[str, ...]) -> str:
    """Return the client's address, or `unix` for a client of the Unix socket.

    `trusted` are the addresses and networks of trusted proxies (`server.trusted_proxies`).
    """
    client = _peer_address(request)
    if proxies := _proxies_if_trusted(request, trusted):
        for hop in islice(_forwarded_for(request), _MAX_HOPS):
            address = _parse_address(hop)
            if address is None:
                break
            client = address
            if not proxies.contains(address):
                break
    return client


def requested_host(request: web.Request, trusted: tuple[str, ...]) -> str | None:
    """Return the host that the client called, with its port if it sent one."""
    host = _last_value(request, _HOST, trusted)
    return host if _HOST_FORM.fullmatch(host) else request.headers.get("Host")


def base_url(request: web.Request, trusted: tuple[str, ...]) -> str:
    """Return the scheme and host of the client's URL."""
    proto = _last_value(request, _PROTO, trusted).lower()
    scheme = proto if proto in ("http", "https") else request.scheme
    return f"{scheme}://{requested_host(request, trusted) or request.host}"


def _last_value(request: web.Request, name: str, trusted: tuple[str, ...]) -> str:
    """Return the header value that the nearest proxy wrote, "" if that proxy is not trusted."""
    if name not in request.headers or _proxies_if_trusted(request, trusted) is None:
        return ""
    return request.headers.getall(name)[-1].rpartition(",")[2].strip()[:_MAX_LENGTH]


def _forwarded_for(request: web.Request) -> Iterator[str]:
    """Yield the addresses in X-Forwarded-For, from the right."""
    for line in reversed(request.headers.getall(_FOR, ())):
        for hop in reversed(line.rsplit(",", _MAX_HOPS)):
            yield hop.strip()


def _parse_address(text: str) -> str | None:
    """Return an address in its canonical form, None if it is not an address.

    >>> _parse_address("192.0.2.1:8080"), _parse_address("[2001:DB8::1]")
    ('192.0.2.1', '2001:db8::1')
    >>> _parse_address("::ffff:192.0.2.1")
    '192.0.2.1'
    """
    if found := _ADDRESS.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return None
        address = address.ipv4_mapped or address
    return address.compressed
