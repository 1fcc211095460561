"""The one door out. The law: every address is checked where the socket is made.

Two doors, in fact, with a pool of connections each, so that no connection made for an origin of
the operator's is ever used for one of a caller's: the public one reaches public addresses only,
the private one reaches private ones too. Neither reaches a cloud metadata service, follows a
redirect, keeps a cookie or heeds a proxy variable.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from io import BytesIO
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Self

from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from proxy.settings.schema import Timeouts
from proxy.upstream.http1 import FastPoster, ReadBudget, ReadLimits, idle_connections

_METADATA_ADDRESSES = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google, and most others
            "169.254.170.2",  # AWS ECS task credentials
            "169.254.170.23",  # AWS EKS pod identity
            "169.254.0.23",  # Tencent Cloud
            "169.254.42.42",  # Scaleway
            "168.63.129.16",  # Azure's wire server
            "100.100.100.200",  # Alibaba Cloud
            "192.0.0.192",  # Oracle Cloud
            "fd00:ec2::254",  # AWS over IPv6
            "fd00:ec2::23",  # AWS EKS pod identity over IPv6
            "fd20:ce::254",  # Google over IPv6
            "fe80::a9fe:a9fe",  # OpenStack over IPv6
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_IPV4_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_V4_COMPATIBLE = IPv6Network("::/96")
_PROTOCOL_ASSIGNMENTS = IPv4Network("192.0.0.0/24")
_KEEPALIVE_SECONDS = 75
_MAX_LINE = 32 * 1024
SHORT_BODY = 32 * 1024
"""Bytes of a body that go out at once with the head."""
_LARGE_BODY = 1024 * 1024


class ForbiddenAddressError(OSError):
    """A name led to an address that this door does not open to. It does not say which."""

    def __init__(self) -> None:
        super().__init__("the host leads to an address that may not be reached")


class Connectors:
    """Holds the two doors for as long as it is entered."""

    def __init__(self, timeouts: Timeouts) -> None:
        timeout = ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=timeouts.idle)
        self._read_limits = ReadLimits(timeout, _MAX_LINE, _MAX_LINE)
        self._clients: dict[bool, PooledClient] = {}
        self._read_budget = ReadBudget()

    async def __aenter__(self) -> Self:
        self._clients = {private: self._make_client(private=private) for private in (False, True)}
        return self

    async def __aexit__(self, *_: object) -> None:
        for door in self._clients.values():
            await door.session.close()

    @property
    def received_bytes(self) -> int:
        """How many bytes have come in all."""
        return self._read_budget.received_bytes

    def connections(self) -> dict[str, float]:
        """Count the connections that are open: `used` by a request, or `idle`."""
        connectors = [door.session.connector for door in self._clients.values()]
        idle = sum(idle_connections(it) for it in connectors if it)
        return {"used": max(self._read_budget.open_connections - idle, 0), "idle": idle}

    def client(self, *, private: bool) -> PooledClient:
        """Give the door whose connections may reach private addresses, or may not."""
        return self._clients[private]

    def _make_client(self, *, private: bool) -> PooledClient:
        def make_socket(addr_info: tuple[Any, ...]) -> socket.socket:
            family, kind, proto, _, address = addr_info
            if not is_allowed_address(address[0], private=private):
                raise ForbiddenAddressError
            return socket.socket(family, kind, proto)

        connector = TCPConnector(
            limit=0,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            ttl_dns_cache=60,
            socket_factory=make_socket,
        )
        self._read_budget.attach(connector)
        reading = self._read_limits
        session = ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=reading.timeout,
            auto_decompress=False,
            max_line_size=reading.max_line_size,
            max_field_size=reading.max_field_size,
            trust_env=False,
        )
        return PooledClient(session, FastPoster(session, reading))


class PooledClient:
    """Sends requests over one pool of connections."""

    def __init__(self, session: ClientSession, poster: FastPoster) -> None:
        self.session = session
        self._poster = poster

    async def request(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes
    ) -> ClientResponse:
        """Send a request; gives the response, its body unread, and follows no redirect."""
        if method == "POST" and len(body) <= SHORT_BODY and url.raw_user is None:
            return await self._poster.post(url, headers, body)
        # In pieces, once it is large: all at once would hold up the loop, and be held twice.
        data = BytesIO(body) if len(body) > _LARGE_BODY else body or None
        return await self.session.request(
            method, url, headers=headers, data=data, allow_redirects=False
        )


def is_allowed_address(text: str, *, private: bool) -> bool:
    """Tell whether a numeric address may be connected to.

    >>> may_reach("8.8.8.8", private=False), may_reach("127.0.0.1", private=False)
    (True, False)
    >>> may_reach("::ffff:169.254.169.254", private=True), may_reach("10.0.0.1", private=True)
    (False, True)
    """
    address = _embedded_ipv4(ip_address(text.partition("%")[0]))
    if address in _METADATA_ADDRESSES or address.is_multicast or address.is_unspecified:
        return False
    if private:
        return True
    # What the standard library calls global, by its version or always, and nobody else does.
    if address in _PROTOCOL_ASSIGNMENTS or (address.version == 6 and address.is_site_local):  # noqa: PLR2004 - IPv6
        return False
    return address.is_global and not address.is_reserved


def _embedded_ipv4(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Give the IPv4 address that an IPv6 one stands for, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64_LOCAL:
        return IPv4Address(0)
    compatible = address in _V4_COMPATIBLE and int(address) > 1
    if compatible or address in _NAT64 or address in _IPV4_TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return (
        address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address
    )
