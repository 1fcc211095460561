"""Host names whose name server does not answer: they delay nobody else, and not for long."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.upstream.client import PROVIDER_CLIENT
from proxy.upstream.name_lookup import (
    LOOKUP_CALLER,
    OPERATOR_HOST,
    NameLookup,
    Slots,
)
from tests.support.custom_hosts import to_host
from tests.support.gateway import OTHER_KEY, Gateway, Provider, gateway, key_to, provider
from tests.support.waiting import until

SLOW = ".slow.example"


class NameServer:
    """Answers with loopback; for names that end with `SLOW`, once `answer` is set."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        if host.endswith(SLOW):
            self.answer.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Any:
    server = NameServer()
    monkeypatch.setattr(NameLookup, "default_getaddrinfo", staticmethod(server.getaddrinfo))
    yield server
    server.answer.set()


@asynccontextmanager
async def gateways(more: str = "") -> AsyncIterator[tuple[Gateway, Provider]]:
    async with provider() as fake:
        named = key_to(fake).replace("127.0.0.1", "images.lan")
        trust = "trusted_custom_hosts: ['*.example', '*.lan']\n"
        async with gateway(named + trust + more) as ours:
            yield ours, fake


async def flood(ours: Gateway, count: int) -> list[asyncio.Task[Any]]:
    tasks = [
        asyncio.ensure_future(to_host(ours, f"http://a{number}{SLOW}/v1"))
        for number in range(count)
    ]
    await asyncio.sleep(0.05)
    return tasks


async def test_slow_names_of_a_caller_delay_neither_others_nor_operators_hosts(
    names: NameServer,
) -> None:
    async with gateways() as (ours, fake), asyncio.timeout(20):
        tasks = await flood(ours, 40)
        await until(lambda: sum(name.endswith(SLOW) for name in names.asked) == 4)
        assert (await ours.draw(virtual_key="up")).status == 200
        port = fake.url.rpartition(":")[2]
        other = {"provider": "openai", "authorization": "Bearer sk-callers-own"}
        got = await ours.draw(
            custom_host=f"http://other.lan:{port}/v1", x_portkey_api_key=OTHER_KEY, **other
        )
        assert got.status == 200
        assert not any(task.done() for task in tasks)
        assert sum(name.endswith(SLOW) for name in names.asked) == 4
        names.answer.set()
        await asyncio.gather(*tasks)


@pytest.mark.usefixtures("names")
async def test_connect_timeout_covers_names() -> None:
    async with gateways("timeouts: {connect: 0.05}") as (ours, _), asyncio.timeout(20):
        for body in ("a cube", "x" * 32_000):  # a short POST, and one that is sent in chunks
            got = await ours.draw(
                body,
                custom_host=f"http://a{SLOW}/v1",
                provider="openai",
                authorization="Bearer sk-callers-own",
            )
            assert got.status == 504
            assert "timed out" in got.error["message"]


async def test_names_of_one_caller_wait_in_a_bounded_queue() -> None:
    slots = Slots(total=2, each=1, waiting=3)
    await slots.acquire("a")
    waiting = [asyncio.ensure_future(slots.acquire("a")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many"):
        await slots.acquire("a")
    await slots.acquire("b")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    slots.release("a")
    slots.release("b")
    assert slots.owners == 0


async def test_a_thread_counts_until_its_lookup_has_ended(names: NameServer) -> None:
    lookup = NameLookup(0.02)
    LOOKUP_CALLER.set("a")
    for number in range(6):
        with pytest.raises(TimeoutError):
            await lookup.resolve(f"a{number}{SLOW}")
    assert len(names.asked) == 4
    OPERATOR_HOST.set(True)
    assert (await lookup.resolve("images.lan", 80))[0]["host"] == "127.0.0.1"
    OPERATOR_HOST.set(False)
    names.answer.set()
    await until(lambda: not lookup.owners)
    assert (await lookup.resolve("images.lan", 80))[0]["host"] == "127.0.0.1"


async def test_both_pools_look_names_up_this_way() -> None:
    async with gateway() as ours:
        for private in (False, True):
            session = ours.app[PROVIDER_CLIENT].connectors.client(private=private).session
            connector: Any = session.connector
            assert isinstance(connector._resolver, NameLookup)
