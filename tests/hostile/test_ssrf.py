"""Case 1: a host, a poll or a picture leads into our own network, however it is written."""

from __future__ import annotations

import orjson
import pytest

from tests.support.custom_hosts import LOOPBACK, is_refused, resolving, to_host
from tests.support.gateway import PATH, gateway_to, provider
from tests.support.polling_provider import drawn, polled

INSIDE = (
    *("169.254.169.254", "[fd00:ec2::254]", "168.63.129.16", "100.64.0.1", "[::ffff:10.0.0.1]"),
    *("[64:ff9b::a9fe:a9fe]", "metadata.google.internal", "169.254.169.254.", "0xa9fea9fe"),
    *("2852039166", "0251.0376.0251.0376", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "127。0。0。1"),
)


async def test_no_notation_of_an_inner_address_is_reached() -> None:
    async with gateway_to() as (ours, fake):
        port = fake.url.rpartition(":")[2]
        for host in (*LOOPBACK, *INSIDE):
            assert is_refused(await to_host(ours, f"http://{host}:{port}/v1")), host
        assert not fake.requests


@pytest.mark.parametrize("path", [PATH, PATH.removeprefix("/v1")])
async def test_every_route_and_every_place_of_a_host_has_the_check(path: str) -> None:
    async with gateway_to() as (ours, fake):
        config = {"provider": "openai", "api_key": "k", "custom_host": fake.url}
        for it in (config, {"targets": [config]}):
            text = orjson.dumps(it).decode()
            assert is_refused(await ours.ask({"prompt": "p"}, path=path, config=text))
        assert not fake.requests


async def test_a_public_name_that_resolves_to_this_machine_is_refused_at_the_socket() -> None:
    async with gateway_to() as (ours, fake):
        port = fake.url.rpartition(":")[2]
        for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "100.64.0.1"):
            resolving(ours, address)
            assert is_refused(await to_host(ours, f"http://images.example.com:{port}/v1"))
        assert not fake.requests


async def test_a_host_that_is_trusted_opens_no_metadata_service() -> None:
    async with gateway_to(more="trusted_custom_hosts: ['*.lan']\n") as (ours, _):
        for address in ("169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200"):
            resolving(ours, address)
            assert is_refused(await to_host(ours, f"http://gpu{len(address)}.lan/v1"))


async def test_a_picture_at_an_inner_address_is_not_fetched() -> None:
    async with provider() as inner, polled() as (ours, polls):
        polls.result = f"{inner.url}/a.png"
        got = await drawn(ours, response_format="b64_json")
        assert (got.status, got.error["code"]) == (502, "foreign_url")
        assert not inner.requests
