"""The client's address and URL, with and without a trusted proxy."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.support.gateway import KEY, PATH, Gateway, gateway

BOX = "virtual_keys: {box: {provider: sandbox}}\n"
TRUSTING = BOX + "server: {trusted_proxies: [127.0.0.1, 10.0.0.0/8, '2001:db8::/32']}\n"
CLIENT = "198.51.100.7"


async def line(ours: Gateway) -> Any:
    """Return the last access line."""
    return orjson.loads((await ours.access_log()).splitlines()[-1])


async def logged_client(ours: Gateway, *forwarded: str) -> str:
    """Return the client in the access line for some lines of X-Forwarded-For."""
    named = [("X-Forwarded-For", it) for it in forwarded]
    async with ours.session.get(ours.url + "/healthz", headers=named) as got:
        assert got.status == 200
    return str((await line(ours))["client"])


FORWARDED = [
    ((), "127.0.0.1"),
    ((CLIENT,), CLIENT),
    ((f"9.9.9.9, {CLIENT}",), CLIENT),
    ((f"9.9.9.9, {CLIENT}, 10.1.2.3",), CLIENT),
    (("9.9.9.9", f"{CLIENT}, 10.1.2.3"), CLIENT),
    ((CLIENT, "10.1.2.3"), CLIENT),
    (("10.0.0.1, 10.0.0.2",), "10.0.0.1"),
    ((f"{CLIENT}:4711",), CLIENT),
    (("[2001:4860::1]:4711",), "2001:4860::1"),
    (("2001:4860::1, 2001:DB8::7",), "2001:4860::1"),
    ((f"::ffff:{CLIENT}",), CLIENT),
]
HOSTILE = [
    ("unknown",),
    ("",),
    (",,,",),
    ("' OR 1=1",),
    ("1.2.3.4.5",),
    ("999.1.1.1",),
    ("fe80::1%eth0",),
    ("localhost",),
    ("1.1.1.1,unknown",),
    ("1.1.1.1, unix",),
]


@pytest.mark.parametrize(("lines", "client"), FORWARDED)
async def test_a_trusted_proxy_names_the_client(lines: tuple[str, ...], client: str) -> None:
    async with gateway(TRUSTING) as ours:
        assert await logged_client(ours, *lines) == client


@pytest.mark.parametrize("lines", HOSTILE)
async def test_an_invalid_address_is_ignored(lines: tuple[str, ...]) -> None:
    async with gateway(TRUSTING) as ours:
        assert await logged_client(ours, *lines) == "127.0.0.1"


async def test_a_long_list_is_read_up_to_a_limit() -> None:
    async with gateway(TRUSTING) as ours:
        many = ", ".join(["10.0.0.1"] * 2000)
        assert await logged_client(ours, f"{CLIENT}, {many}") == "10.0.0.1"


@pytest.mark.parametrize("trusted", ["", "server: {trusted_proxies: [10.0.0.0/8, unix]}"])
@pytest.mark.parametrize("lines", [lines for lines, _ in FORWARDED])
async def test_an_untrusted_peers_header_is_ignored(lines: tuple[str, ...], trusted: str) -> None:
    async with gateway(BOX + trusted) as ours:
        assert await logged_client(ours, *lines) == "127.0.0.1"


async def image_url(ours: Gateway, **forwarded: str) -> str:
    asked = {"prompt": "x", "size": "64x64", "response_format": "url"}
    named = {f"X-Forwarded-{name}": value for name, value in forwarded.items()}
    named |= {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "box"}
    async with ours.session.post(ours.url + PATH, json=asked, headers=named) as got:
        assert got.status == 200
        return str((await got.json())["data"][0]["url"])


@pytest.mark.parametrize(
    ("forwarded", "base"),
    [
        ({"Proto": "https"}, "https://127.0.0.1:"),
        ({"Proto": "HTTPS", "Host": "localhost"}, "https://localhost/"),
        ({"Host": "localhost:99"}, "http://localhost:99/"),
        ({"Host": "evil.example, localhost"}, "http://localhost/"),
        ({"Proto": "gopher", "Host": "localhost/@evil"}, "http://127.0.0.1:"),
        ({"Proto": "", "Host": "a b"}, "http://127.0.0.1:"),
        ({"Host": "x" * 300}, "http://127.0.0.1:"),
    ],
)
async def test_image_urls_have_the_host_that_the_client_called(
    forwarded: dict[str, str], base: str
) -> None:
    async with gateway(TRUSTING) as ours:
        assert (await image_url(ours, **forwarded)).startswith(base)


async def test_an_untrusted_peer_does_not_change_image_urls() -> None:
    async with gateway(BOX) as ours:
        url = await image_url(ours, Proto="https", Host="evil.example")
        assert url.startswith(ours.url + "/")


async def test_the_forwarded_host_must_be_allowed() -> None:
    async with gateway(TRUSTING) as ours:
        for host, status in (("evil.example", 421), ("localhost", 200)):
            named = {"X-Forwarded-Host": host}
            async with ours.session.get(ours.url + "/healthz", headers=named) as got:
                assert got.status == status


async def test_an_untrusted_peers_forwarded_host_is_ignored() -> None:
    async with gateway(BOX) as ours:
        named = {"Host": "evil.example", "X-Forwarded-Host": "localhost"}
        async with ours.session.get(ours.url + "/healthz", headers=named) as got:
            assert got.status == 421
