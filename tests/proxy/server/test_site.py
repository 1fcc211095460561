"""Nobody who knocks is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from proxy.server.listeners import Listener, open_listeners
from proxy.server.site import close_sites, start_sites
from proxy.settings.schema import Server, Timeouts
from proxy.settings.tls import ReloadableTls
from tests.support.certificates import Authority

KNOCKING = 200
ASKED = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a socket path that is short enough wherever the tests run."""
    monkeypatch.chdir(tmp_path)
    return Path("easel.sock")


@asynccontextmanager
async def serving() -> AsyncIterator[web.AppRunner]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


def knocking(listener: Listener, count: int) -> list[socket.socket]:
    """Ask on many connections, none of which anybody has taken yet."""
    clients = [socket.socket(listener.socket.family) for _ in range(count)]
    for client in clients:
        client.settimeout(10)
        client.connect(listener.socket.getsockname())
        client.sendall(ASKED)
    return clients


def answer_to(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


@pytest.mark.parametrize("by", ["tcp", "unix"])
async def test_who_has_knocked_is_answered_though_the_door_is_closed(path: Path, by: str) -> None:
    unix = Server(host="none", socket=str(path))
    [listener] = open_listeners(unix if by == "unix" else Server(port=0))
    place = listener.socket.getsockname()
    async with serving() as runner:
        clients = knocking(listener, KNOCKING)
        await close_sites(await start_sites(runner, [listener], None, Timeouts()))
        answers = await asyncio.to_thread(lambda: list(map(answer_to, clients)))
        assert [it.endswith(b"here") for it in answers] == [True] * KNOCKING
        with socket.socket(listener_family(by)) as late, pytest.raises(OSError):  # noqa: PT011 - refused, or no file
            late.connect(place)


def listener_family(by: str) -> int:
    return socket.AF_UNIX if by == "unix" else socket.AF_INET


async def test_what_others_listen_on_too_goes_on_without_us(path: Path) -> None:
    [listener] = open_listeners(Server(host="none", socket=str(path)))
    ours = Listener(listener.socket.dup(), shared=True)
    async with serving() as first, serving() as second:
        clients = knocking(listener, KNOCKING)
        doors = await start_sites(second, [listener], None, Timeouts())
        await close_sites(await start_sites(first, [ours], None, Timeouts()))
        clients += await asyncio.to_thread(knocking, listener, KNOCKING)
        answers = await asyncio.to_thread(lambda: list(map(answer_to, clients)))
        assert [it.endswith(b"here") for it in answers] == [True] * 2 * KNOCKING
        await close_sites(doors)


async def test_a_port_that_others_listen_on_too_loses_nobody() -> None:
    [first] = open_listeners(Server(port=0), reuse_port=True)
    [second] = open_listeners(Server(port=first.socket.getsockname()[1]), reuse_port=True)
    async with serving() as one, serving() as other:
        clients = knocking(first, KNOCKING)
        doors = await start_sites(other, [second], None, Timeouts())
        await close_sites(await start_sites(one, [first], None, Timeouts()))
        clients += await asyncio.to_thread(knocking, second, KNOCKING)
        answers = await asyncio.to_thread(lambda: list(map(answer_to, clients)))
        assert [it.endswith(b"here") for it in answers] == [True] * 2 * KNOCKING
        await close_sites(doors)


async def test_a_handshake_has_as_long_as_a_head(tmp_path: Path) -> None:
    pair = Authority(tmp_path).sign("server")
    [listener] = open_listeners(Server(port=0))
    async with serving() as runner:
        tls = ReloadableTls(str(pair.certificate), str(pair.key))
        doors = await start_sites(runner, [listener], tls, Timeouts(head=0.2))
        with socket.create_connection(listener.socket.getsockname()) as silent:
            silent.settimeout(10)
            assert await asyncio.to_thread(silent.recv, 1) == b""
        await close_sites(doors)
