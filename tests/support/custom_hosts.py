"""Requests for custom hosts, and resolvers with scripted answers."""

from __future__ import annotations

import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.upstream.client import PROVIDER_CLIENT
from tests.support.gateway import Answered, Gateway

OWN_KEY = {"provider": "openai", "authorization": "Bearer sk-callers-own"}
LOOPBACK = (
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1"),
    *("017700000001", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0", "127.0.0.1.", "localhost"),
)


async def to_host(ours: Gateway, host: str) -> Answered:
    return await ours.draw(custom_host=host, **OWN_KEY)


def is_refused(got: Answered) -> bool:
    return (got.status, got.error["code"]) == (400, "invalid_custom_host")


class Answers(AbstractResolver):
    """Resolves every name to the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Hold nothing."""


def resolving(ours: Gateway, *addresses: str) -> None:
    """Make every host name resolve to these addresses, in both pools."""
    for private in (False, True):
        connector: Any = (
            ours.app[PROVIDER_CLIENT].connectors.client(private=private).session.connector
        )
        connector._resolver = Answers(*addresses)
