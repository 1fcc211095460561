"""Who a client is, and by what URL it came: from its connection, or from a proxy that we trust.

    X-Forwarded-For    from the right, the first address that is no trusted proxy's is the client's
    X-Forwarded-Proto  http or https; the last one, which the nearest proxy has written
    X-Forwarded-Host   a host, with or without a port; the last one

Whoever else sends them is not believed. What has no such form is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import islice

from aiohttp import web

from proxy.settings.schema import UNIX

_FOR, _PROTO, _HOST = "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"
_MOST_HOPS = 32
_MOST_KNOWN = 1024
_LONGEST = 255
_HOST_FORM = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{1,5})?")
_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::\d{1,5})?|([0-9.]{7,15}):\d{1,5}")
"""An address with its port, or in brackets, as some proxies write it."""


class TrustedProxies:
    """Whose word counts: `trusted` are addresses, networks, or the word `unix`."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._networks = [ip_network(it) for it in trusted if it != UNIX]
        self._unix = UNIX in trusted
        self.holds = lru_cache(_MOST_KNOWN)(self._is_one)

    def _is_one(self, peer: str) -> bool:
        """Tell whether an address, or `unix`, is a trusted proxy's."""
        if peer == UNIX:
            return self._unix
        address = _address(peer)
        return address is not None and any(ip_address(address) in it for it in self._networks)


_trusted = lru_cache(4)(TrustedProxies)


def _proxies(request: web.Request, trusted: tuple[str, ...]) -> TrustedProxies | None:
    """Return the trusted proxies if the peer is one of them."""
    if not trusted:
        return None
    proxies = _trusted(trusted)
    return proxies if proxies.holds(_peer(request)) else None


def _peer(request: web.Request) -> str:
    return UNIX if comes_by_unix(request) else request.remote or ""


def comes_by_unix(request: web.Request) -> bool:
    """Tell whether a request has come by the unix socket."""
    # It is told even where the client has gone by now, unlike aiohttp's public ways to ask.
    return isinstance(request._transport_sockname, str | bytes)  # noqa: SLF001 - see above


def client_of(request: web.Request, trusted: tuple[str, ...]) -> str:
    """Return the client's address, or `unix` for a client of the Unix socket.

    `trusted` are the addresses and networks of trusted proxies (`server.trusted_proxies`).
    """
    client = _peer(request)
    if proxies := _proxies(request, trusted):
        for hop in islice(_hops(request), _MOST_HOPS):
            address = _address(hop)
            if address is None:
                break
            client = address
            if not proxies.holds(address):
                break
    return client


def host_of(request: web.Request, trusted: tuple[str, ...]) -> str | None:
    """Return the host that the client called, with its port if it sent one."""
    told = _last(request, _HOST, trusted)
    return told if _HOST_FORM.fullmatch(told) else request.headers.get("Host")


def base_url_of(request: web.Request, trusted: tuple[str, ...]) -> str:
    """Return the scheme and host of the client's URL."""
    told = _last(request, _PROTO, trusted).lower()
    scheme = told if told in ("http", "https") else request.scheme
    return f"{scheme}://{host_of(request, trusted) or request.host}"


def _last(request: web.Request, name: str, trusted: tuple[str, ...]) -> str:
    """Return the header value that the nearest proxy wrote, "" if that proxy is not trusted."""
    if name not in request.headers or _proxies(request, trusted) is None:
        return ""
    return request.headers.getall(name)[-1].rpartition(",")[2].strip()[:_LONGEST]


def _hops(request: web.Request) -> Iterator[str]:
    """Give what stands in X-Forwarded-For, from the right."""
    for line in reversed(request.headers.getall(_FOR, ())):
        for hop in reversed(line.rsplit(",", _MOST_HOPS)):
            yield hop.strip()


def _address(text: str) -> str | None:
    """Read an address as it is compared and shown; None for what is none.

    >>> _address("192.0.2.1:8080"), _address("[2001:DB8::1]"), _address("::ffff:192.0.2.1")
    ('192.0.2.1', '2001:db8::1', '192.0.2.1')
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
