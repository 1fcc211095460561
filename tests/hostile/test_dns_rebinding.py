"""Case 2: a name leads to a good address when it is checked, and to another when dialled."""

from __future__ import annotations

from typing import Any

from proxy.upstream.client import PROVIDER_CLIENT
from tests.support.custom_hosts import is_refused, resolving, to_host
from tests.support.gateway import Gateway, gateway_to

TRUST = "trusted_custom_hosts: ['*.lan']\n"


async def forgetting(ours: Gateway) -> None:
    """Let names be looked up anew, and connections be made anew."""
    for private in (False, True):
        connector: Any = (
            ours.app[PROVIDER_CLIENT].connectors.client(private=private).session.connector
        )
        connector.clear_dns_cache()
        for waiting in connector._conns.values():
            for protocol, _ in waiting:
                protocol.close()
        connector._conns.clear()


async def test_a_name_that_was_good_is_checked_again_at_every_connection() -> None:
    async with gateway_to(more=TRUST) as (ours, fake):
        port = fake.url.rpartition(":")[2]
        host = f"http://gpu.lan:{port}/v1"
        resolving(ours, "127.0.0.1")
        assert (await to_host(ours, host)).status == 200
        resolving(ours, "169.254.169.254")
        await forgetting(ours)
        assert is_refused(await to_host(ours, host))
        assert len(fake.requests) == 1


async def test_what_is_dialled_keeps_the_name_that_was_asked_for() -> None:
    async with gateway_to(more=TRUST) as (ours, fake):
        resolving(ours, "127.0.0.1")
        port = fake.url.rpartition(":")[2]
        await to_host(ours, f"http://gpu.lan:{port}/v1")
        assert fake.requests[0].headers["host"] == f"gpu.lan:{port}"


async def test_one_bad_address_among_several_is_not_dialled() -> None:
    async with gateway_to() as (ours, fake):
        port = fake.url.rpartition(":")[2]
        resolving(ours, "::1", "10.0.0.1", "127.0.0.1")
        assert is_refused(await to_host(ours, f"http://images.example.com:{port}/v1"))
        assert not fake.requests
