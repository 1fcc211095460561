"""Client connections on real sockets: what each use of aiohttp's private attributes is for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from proxy.app import make_app
from proxy.server.connection import ClientConnection, ClientServer, IdleMemory, client_runner
from proxy.settings.loader import parse
from tests.support.gateway import SETTINGS
from tests.support.waiting import until

ASKED = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
BASE = 16 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[ClientServer, Streams]]:
    """Run a gateway, and open a connection to it."""
    runner = client_runner(make_app(parse(SETTINGS, environ={})))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = runner.server
    assert isinstance(server, ClientServer)
    streams = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
    try:
        yield server, streams
    finally:
        streams[1].close()
        await runner.cleanup()


async def test_a_waiting_connection_counts_until_it_is_closed() -> None:
    async with talking() as (server, (reader, writer)):
        await until(lambda: server.idle_memory.total == BASE)
        writer.write(ASKED[:-2])
        await until(lambda: server.idle_memory.total == BASE + 3 * len(ASKED[:-2]))
        writer.write(ASKED[-2:])
        await reader.readuntil(b"}")
        await until(lambda: server.idle_memory.total == BASE + 3 * len(ASKED))
        writer.close()
        await until(lambda: server.idle_memory.total == 0)


async def test_its_connections_are_ours_and_have_the_options_of_the_runner() -> None:
    async with talking() as (server, _):
        await until(lambda: server.connections)
        [connection] = server.connections
        assert isinstance(connection, ClientConnection)
        assert connection.max_field_size == 40_960
        assert connection.is_waiting


class Closed:
    """A connection as `IdleMemory` sees it."""

    def __init__(self, *, is_waiting: bool = True) -> None:
        self.is_waiting = is_waiting
        self.is_closed = False

    def force_close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("busy", [False, True])
def test_those_that_waited_longest_are_closed_first_and_busy_ones_never(*, busy: bool) -> None:
    memory = IdleMemory(100)
    first, second, third = Closed(is_waiting=not busy), Closed(), Closed()
    for it in (first, second, first if not busy else second, third):
        memory.record(it, 40)  # type: ignore[arg-type]  # as much of one as it needs
    assert [it.is_closed for it in (first, second, third)] == (
        [False, False, False] if busy else [False, True, False]
    )
    assert memory.total == 80
