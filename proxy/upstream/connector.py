"""Connections to providers, with an address filter against server-side request forgery (SSRF).

The invariant: every IP address is checked where its socket is made.

There are two connection pools, so that a connection made for an operator's base URL is never used
for a host that a client named: the public pool reaches public addresses only, the private one
reaches private addresses too. Neither reaches a cloud metadata service, follows a redirect, keeps a
cookie or reads the proxy environment variables.
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
from proxy.upstream.name_lookup import NameLookup

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
"""Longest body, in bytes, that is sent in one write with its head."""
_LARGE_BODY = 1024 * 1024


class ForbiddenAddressError(OSError):
    """A host resolved to an address that this pool may not reach. The message does not name it."""

    def __init__(self) -> None:
        super().__init__("the host resolves to a forbidden address")


class Connectors:
    """The public and the private connection pool; an asynchronous context manager."""

    def __init__(self, timeouts: Timeouts) -> None:
        # `connect` covers the look-up of the name, and all addresses that are tried.
        timeout = ClientTimeout(
            total=None,
            connect=timeouts.connect,
            sock_connect=timeouts.connect,
            sock_read=timeouts.idle,
        )
        self._read_limits = ReadLimits(timeout, _MAX_LINE, _MAX_LINE)
        self._clients: dict[bool, PooledClient] = {}
        self._read_budget = ReadBudget()
        self._connect_seconds = timeouts.connect

    async def __aenter__(self) -> Self:
        self._names = NameLookup(self._connect_seconds)
        self._clients = {private: self._make_client(private=private) for private in (False, True)}
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients.values():
            await client.session.close()

    @property
    def received_bytes(self) -> int:
        """Bytes received from providers so far."""
        return self._read_budget.received_bytes

    def connections(self) -> dict[str, float]:
        """Return the number of open connections: `used` by a request, and `idle`."""
        connectors = [client.session.connector for client in self._clients.values()]
        idle = sum(idle_connections(it) for it in connectors if it)
        return {"used": max(self._read_budget.open_connections - idle, 0), "idle": idle}

    def client(self, *, private: bool) -> PooledClient:
        """Return the client whose connections may reach private addresses, or the other one."""
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
            resolver=self._names,
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
    """Sends requests over one connection pool."""

    def __init__(self, session: ClientSession, fast_poster: FastPoster) -> None:
        self.session = session
        self._fast_poster = fast_poster

    async def request(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes
    ) -> ClientResponse:
        """Send a request; return the response with its body unread. Redirects are not followed."""
        if method == "POST" and len(body) <= SHORT_BODY and url.raw_user is None:
            return await self._fast_poster.post(url, headers, body)
        # A large body is written in chunks: one write would block the loop and copy the body.
        data = BytesIO(body) if len(body) > _LARGE_BODY else body or None
        return await self.session.request(
            method, url, headers=headers, data=data, allow_redirects=False
        )


def is_allowed_address(text: str, *, private: bool) -> bool:
    """Return whether a numeric IP address may be connected to.

    >>> is_allowed_address("8.8.8.8", private=False), is_allowed_address("127.0.0.1", private=False)
    (True, False)
    >>> is_allowed_address("::ffff:169.254.169.254", private=True)
    False
    >>> is_allowed_address("10.0.0.1", private=True)
    True
    """
    address = _embedded_ipv4(ip_address(text.partition("%")[0]))
    if address in _METADATA_ADDRESSES or address.is_multicast or address.is_unspecified:
        return False
    if private:
        return True
    # The standard library calls these global, some versions of it only; IANA does not.
    if address in _PROTOCOL_ASSIGNMENTS or (address.version == 6 and address.is_site_local):  # noqa: PLR2004 - IPv6
        return False
    return address.is_global and not address.is_reserved


def _embedded_ipv4(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address embedded in an IPv6 address, else the address itself."""
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
