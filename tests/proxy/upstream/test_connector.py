"""The address filter: every notation of an address, host names, and both pools."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiohttp import ClientConnectorError, web

from proxy.settings.schema import Timeouts
from proxy.upstream.connector import Connectors, ForbiddenAddressError, is_allowed_address
from tests.support.custom_hosts import LOOPBACK, is_refused, resolving, to_host
from tests.support.gateway import gateway, gateway_to, provider

UP = {"virtual_key": "up"}
TRUST = "trusted_custom_hosts: [127.0.0.1]\n"

PUBLIC = ("8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808")
PRIVATE = (
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1"),
    *("169.254.1.1", "192.0.0.8", "198.18.0.1", "240.0.0.1", "255.255.255.255"),
    *("::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:0:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"),
)
NEVER = (
    *("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "169.254.42.42"),
    *("fd00:ec2::254", "fd20:ce::254", "fe80::a9fe:a9fe", "fe80::a9fe:a9fe%eth0"),
    *("::ffff:169.254.169.254", "::ffff:0:a9fe:a9fe", "::169.254.169.254", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::", "0.0.0.0", "::", "224.0.0.1", "ff02::1"),  # noqa: S104 - refused
)


def test_both_pools_reach_public_addresses() -> None:
    for address in PUBLIC:
        assert is_allowed_address(address, private=False), address
        assert is_allowed_address(address, private=True), address


def test_only_the_private_pool_reaches_private_addresses() -> None:
    for address in PRIVATE:
        assert not is_allowed_address(address, private=False), address
        assert is_allowed_address(address, private=True), address


def test_no_pool_reaches_a_metadata_service() -> None:
    for address in NEVER:
        assert not is_allowed_address(address, private=False), address
        assert not is_allowed_address(address, private=True), address


@pytest.mark.parametrize("host", LOOPBACK)
async def test_a_caller_cannot_reach_this_machine(host: str) -> None:
    async with gateway_to() as (ours, fake):
        port = fake.url.rpartition(":")[2]
        assert is_refused(await to_host(ours, f"http://{host}:{port}/v1"))
        assert not fake.requests


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "192.168.1.1", "[fd00::1]", "[fe80::1]", "100.64.0.1"]
)
async def test_a_caller_cannot_reach_the_network_around_it(host: str) -> None:
    async with gateway() as ours:
        assert is_refused(await to_host(ours, f"http://{host}/v1"))


async def test_a_clients_config_cannot_reach_it_either() -> None:
    async with gateway_to() as (ours, fake):
        config = {"provider": "openai", "api_key": "k", "custom_host": fake.url}
        assert is_refused(await ours.draw(config=orjson.dumps(config).decode()))
        assert not fake.requests


async def test_a_trusted_host_is_reached() -> None:
    async with gateway_to(more=TRUST) as (ours, fake):
        assert (await to_host(ours, fake.url)).status == 200


async def test_trust_goes_by_the_name_as_it_is_written() -> None:
    async with gateway_to(more=TRUST) as (ours, fake):
        assert is_refused(await to_host(ours, fake.url.replace("127.0.0.1", "127.1")))
        assert not fake.requests


@pytest.mark.parametrize("host", ["169.254.169.254", "168.63.129.16", "100.100.100.200"])
async def test_a_trusted_host_cannot_be_a_metadata_service(host: str) -> None:
    trust = f"trusted_custom_hosts: ['{host}']\n"
    own = f"virtual_keys: {{m: {{provider: openai, custom_host: 'http://{host}/v1'}}}}\n"
    async with gateway(trust + own) as ours:
        assert is_refused(await to_host(ours, f"http://{host}/latest"))
        assert (await ours.draw(virtual_key="m")).status == 400


async def test_the_operators_own_host_needs_no_trust() -> None:
    saved = "configs: {pc: {provider: openai, api_key: k, custom_host: '%s/saved'}}\n"
    async with provider() as fake, gateway(saved % fake.url) as ours:
        assert (await ours.draw(config="pc")).status == 200
        assert fake.requests[0].path == "/saved/images/generations"


async def test_a_connection_made_for_the_operator_never_serves_a_callers_host() -> None:
    async with gateway_to() as (ours, fake):
        for _ in range(2):
            assert (await ours.draw(**UP)).status == 200
        assert len({_peer(request) for request in fake.requests}) == 1
        assert is_refused(await to_host(ours, f"{fake.url}/v1"))
        assert len(fake.requests) == 2


@pytest.mark.parametrize(
    "addresses", [("127.0.0.1",), ("::1",), ("10.0.0.1", "10.0.0.2"), ("::1", "127.0.0.1")]
)
async def test_a_public_name_resolving_to_loopback_is_refused(
    addresses: tuple[str, ...],
) -> None:
    async with gateway_to() as (ours, fake):
        resolving(ours, *addresses)
        port = fake.url.rpartition(":")[2]
        assert is_refused(await to_host(ours, f"http://rebound.example.com:{port}/v1"))
        assert not fake.requests


async def test_a_trusted_name_that_resolves_to_a_metadata_service_is_refused() -> None:
    async with gateway("trusted_custom_hosts: [gpu.lan]\n") as ours:
        resolving(ours, "169.254.169.254")
        assert is_refused(await to_host(ours, "http://gpu.lan/v1"))


async def test_a_trusted_name_is_reached() -> None:
    async with gateway_to(more="trusted_custom_hosts: ['*.lan']\n") as (ours, fake):
        resolving(ours, "127.0.0.1")
        port = fake.url.rpartition(":")[2]
        assert (await to_host(ours, f"http://gpu.lan:{port}/v1")).status == 200
        assert fake.requests[0].host == f"gpu.lan:{port}"


async def test_a_refusal_names_no_address() -> None:
    async with gateway_to() as (ours, fake):
        got = await to_host(ours, fake.url)
        assert "127.0.0.1" not in got.body.decode()
    assert not [c for c in str(ForbiddenAddressError()) if c.isdigit()]


async def test_proxy_environment_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with gateway_to() as (ours, fake):
        assert (await ours.draw(**UP)).status == 200
        assert len(fake.requests) == 1


async def test_closing_the_connectors_closes_both_sessions() -> None:
    async with Connectors(Timeouts()) as connectors:
        sessions = [connectors.client(private=private).session for private in (False, True)]
        with pytest.raises(ClientConnectorError) as caught:
            await sessions[0].get("http://localhost:9/")
        assert isinstance(caught.value.os_error, ForbiddenAddressError)
    assert all(session.closed for session in sessions)


def _peer(request: web.Request) -> Any:
    assert request.transport
    return request.transport.get_extra_info("peername")
