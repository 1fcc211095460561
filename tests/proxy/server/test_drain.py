"""What connections are at, on real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.server.drain import close_all, close_idle, is_busy, is_unused
from proxy.server.listeners import open_listeners
from proxy.server.site import close_sites, start_sites
from proxy.settings.schema import Server, Timeouts
from proxy.settings.tls import ReloadableTls
from tests.support.certificates import Authority

ASKED = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
LARGE = 24 << 20

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def talking(
    folder: Path | None = None,
) -> AsyncIterator[tuple[web.Server, asyncio.Event, Streams]]:
    """Run a server, with TLS if there is a folder for it, that answers once it is told to."""
    told, authority = asyncio.Event(), Authority(folder) if folder else None

    async def answer(_: web.BaseRequest) -> web.Response:
        await told.wait()
        return web.Response(body=b"A" * LARGE)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    pair = authority.sign("server") if authority else None
    tls = ReloadableTls(str(pair.certificate), str(pair.key)) if pair else None
    [listener] = open_listeners(Server(port=0))
    doors = await start_sites(runner, [listener], tls, Timeouts())
    trusting = authority.trusting() if authority else None
    reader, writer = await asyncio.open_connection(
        *listener.socket.getsockname(), ssl=trusting, limit=1 << 16
    )
    assert runner.server
    try:
        yield runner.server, told, (reader, writer)
    finally:
        writer.close()
        await close_sites(doors)
        await runner.cleanup()


async def the_one(server: web.Server) -> RequestHandler:
    """Wait for the server's only connection, and return it."""
    async with asyncio.timeout(10):
        while not server.connections:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    [connection] = server.connections
    return connection


async def test_a_connection_is_new_until_something_is_asked() -> None:
    async with talking() as (server, told, (reader, writer)):
        connection = await the_one(server)
        assert (is_unused(connection), is_busy(connection)) == (True, False)
        writer.write(ASKED)
        while not connection._current_request:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        assert (is_unused(connection), is_busy(connection)) == (False, True)
        told.set()
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(LARGE)
        assert (is_unused(connection), is_busy(connection)) == (False, False)


async def test_a_request_that_nobody_has_read_yet_is_seen() -> None:
    async with talking() as (server, told, (_, writer)):
        connection = await the_one(server)
        told.set()
        own = writer.get_extra_info("socket")
        assert not is_busy(connection)
        own._sock.send(ASKED)  # at once: the loop has no turn in between
        assert is_busy(connection)


@pytest.mark.parametrize("by_tls", [False, True], ids=["plain", "tls"])
async def test_an_end_waits_for_the_last_byte(tmp_path: Path, *, by_tls: bool) -> None:
    async with talking(tmp_path if by_tls else None) as (server, told, (reader, writer)):
        connection = await the_one(server)
        writer.write(ASKED)
        told.set()
        await reader.readuntil(b"\r\n\r\n")
        ending = asyncio.create_task(close_all(server))
        await asyncio.sleep(0.2)
        assert not ending.done()
        assert len(await reader.read(-1)) == LARGE
        async with asyncio.timeout(10):
            await ending
        assert connection.transport is None


async def test_what_idles_is_ended_at_once() -> None:
    async with talking() as (server, _, (reader, _)):
        await the_one(server)
        await close_all(server)
        assert await reader.read() == b""


async def test_what_idles_is_hung_up_on_and_what_is_asked_is_not() -> None:
    async with talking() as (server, told, (reader, writer)):
        await the_one(server)
        told.set()
        own = writer.get_extra_info("socket")
        own._sock.send(ASKED)  # at once, as above
        assert not close_idle(server)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(LARGE)
        assert close_idle(server)
        assert await reader.read() == b""
