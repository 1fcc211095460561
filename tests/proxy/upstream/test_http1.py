"""Short requests in one write, compared with those of a client session, and the read budget."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket, socketpair

import aiohttp.connector
import pytest
from aiohttp import ClientConnectorError, ClientError, ClientResponse, web
from aiohttp.test_utils import TestServer
from yarl import URL

from proxy.jobs.budget import RecordingBudget
from proxy.jobs.recording import Recording
from proxy.settings.schema import Timeouts
from proxy.upstream import http1
from proxy.upstream.connector import SHORT_BODY, Connectors, PooledClient
from proxy.upstream.http1 import ReadBudget
from tests.support.certificates import self_signed
from tests.support.gateway import provider

HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "easel", "x-a": "1"}
HEADERS |= {"content-type": "application/json", "authorization": "Bearer k"}
Seen = list[tuple[str, dict[str, str], bytes]]


@asynccontextmanager
async def server(seen: Seen, context: ssl.SSLContext | None = None) -> AsyncIterator[URL]:
    """Run a server that records requests, and responds 201 with a header and a body."""

    async def answer(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen.append((request.raw_path, headers, await request.read()))
        return web.Response(status=201, body=b"made", headers={"x-b": "2"})

    app = web.Application()
    app.router.add_post("/{any:.*}", answer)
    running = TestServer(app)
    await running.start_server(ssl=context)
    try:
        scheme = "https" if context else "http"
        yield URL(f"{scheme}://127.0.0.1:{running.port}/v1/x%20y?a=%2f", encoded=True)
    finally:
        await running.close()


@asynccontextmanager
async def opened(timeouts: Timeouts | None = None) -> AsyncIterator[PooledClient]:
    async with Connectors(timeouts or Timeouts()) as connectors:
        yield connectors.client(private=True)


async def test_both_ways_send_and_read_the_same() -> None:
    seen: Seen = []
    async with server(seen) as url, opened() as client:
        ours = await client.request("POST", url, HEADERS, b"{}")
        theirs = await client.session.request("POST", url, headers=HEADERS, data=b"{}")
        assert seen[0] == seen[1]
        for response in (ours, theirs):
            got = response.status, response.headers["x-b"], await response.read()
            assert got == (201, "2", b"made")


async def test_both_ways_share_the_connection_pool() -> None:
    async with server([]) as url, opened() as client:
        for body in (b"{}", b"x" * (SHORT_BODY + 1), b"{}"):
            await (await client.request("POST", url, HEADERS, body)).read()
        pool = client.session.connector
        assert isinstance(pool, aiohttp.TCPConnector)
        assert [len(it) for it in pool._conns.values()] == [1]


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\x00", "\x7f"])
async def test_a_header_with_a_line_break_is_not_sent(value: str) -> None:
    seen: Seen = []
    async with server(seen) as url, opened() as client:
        with pytest.raises(ValueError):  # noqa: PT011 - it says nothing of what it refused
            await client.request("POST", url, {"x": value}, b"{}")
    assert not seen


async def test_header_bytes_that_are_not_utf8_are_sent_unchanged() -> None:
    seen: Seen = []
    async with server(seen) as url, opened() as client:
        (await client.request("POST", url, {"x": "\udcff\udcfe"}, b"{}")).release()
    assert seen[0][1]["x"] == "\udcff\udcfe"


async def test_a_closed_port_raises_what_a_session_raises() -> None:
    async with opened() as client:
        with pytest.raises(ClientConnectorError):
            await client.request("POST", URL("http://127.0.0.1:9/"), HEADERS, b"{}")


async def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    seen: Seen = []
    async with server(seen, context) as url:
        async with opened() as client:
            with pytest.raises(ClientError, match="certificate"):
                await client.request("POST", url, HEADERS, b"{}")
        trusting = ssl.create_default_context(cafile=str(file))
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
        async with opened() as client:
            response = await client.request("POST", url, HEADERS, b"{}")
            assert (response.status, len(seen)) == (201, 1)
            response.release()


MANY = 80
MB = 1024 * 1024
BODY = b"x" * MB
MEMORY = 2 * MB


@dataclass(eq=False)
class Heard:
    """A job whose client has read nothing yet, so that nothing of it can be evicted."""

    recording: Recording
    listeners: int = 1
    deliveries: int = 0
    has_connected_client: bool = True

    def evict(self) -> None:
        raise AssertionError


@asynccontextmanager
async def responses(count: int) -> AsyncIterator[tuple[list[ClientResponse], ReadBudget]]:
    """Request `count` responses of 1 MB at the same time; yield them unread."""
    asked, all_there = [], asyncio.Event()

    async def reply(request: web.Request) -> web.Response:
        asked.append(request)
        if len(asked) == count:
            all_there.set()
        await all_there.wait()
        return web.Response(body=BODY)

    async with provider(reply) as fake, Connectors(Timeouts()) as connectors:
        client, url = connectors.client(private=True), URL(fake.url)
        asking = (client.request("POST", url, {}, b"{}") for _ in range(count))
        got = await asyncio.gather(*asking)
        yield got, connectors._read_budget
        for response in got:
            response.close()


async def settled(held: Callable[[], int]) -> int:
    """Return a number once it no longer changes."""
    before = -1
    while before != held():
        before = held()
        await asyncio.sleep(0.2)
    return before


@pytest.mark.parametrize(
    ("opened", "step"),
    [(0, 256), (16, 256), (17, 128), (128, 128), (256, 64), (512, 32), (1024, 16), (9999, 16)],
)
def test_more_connections_mean_smaller_reads(opened: int, step: int) -> None:
    counting = ReadBudget()
    counting.open_connections = opened
    assert counting.read_size == len(counting.buffer) == step * 1024


async def test_connections_are_counted_while_they_are_open() -> None:
    async with responses(3) as (got, counting):
        assert counting.open_connections == 3
        got[0].close()
        await asyncio.sleep(0)
        assert counting.open_connections == 2
    await asyncio.sleep(0)
    assert counting.open_connections == 0


async def test_read_ahead_is_bounded_while_memory_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many connections for what they may hold as 1,280 in earnest.
    monkeypatch.setattr(http1, "_FEW_CONNECTIONS", 0)
    monkeypatch.setattr(http1, "_READ_AHEAD", MB)
    monkeypatch.setattr(http1, "_MIN_READ", 1024)
    shelf = RecordingBudget(MEMORY, 0)

    async def taken(response: ClientResponse, number: int) -> None:
        holder = Heard(Recording(shelf, tmp_path / str(number)))
        shelf.add(holder)
        while piece := await response.content.readany():
            await holder.recording.append(piece)

    async with responses(MANY) as (got, counting):
        taking = [asyncio.create_task(taken(it, number)) for number, it in enumerate(got)]
        held = await settled(lambda: shelf.bytes_in_memory + sum(it.content._size for it in got))
        # What each may have left in its buffer and still read on, and what it then reads: once
        # there, and once on its way to the shelf.
        left = http1._MIN_READ // 2
        assert MEMORY < held <= MEMORY + 2 * MANY * (left + counting.read_size)
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)


@pytest.mark.parametrize("leave", [lambda it: it.close(), lambda it: it.send(b"HTTP/1.1 200 It")])
async def test_an_idle_connection_with_unread_input_is_not_reused(
    leave: Callable[[socket], object],
) -> None:
    ours, theirs = socketpair()
    loop = asyncio.get_running_loop()
    _, handler = await loop.create_connection(lambda: ReadBudget().new_handler(loop), sock=ours)
    with theirs:
        assert handler.is_connected()
        leave(theirs)
        assert not handler.is_connected()
        handler.close()


async def test_an_unsolicited_response_is_discarded() -> None:
    head, said = b"HTTP/1.1 200 It\r\ncontent-length: 5\r\n\r\n", asyncio.Event()
    answers = iter([b"first", b"right"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(head + next(answers))
        await said.wait()
        writer.write(head + b"wrong")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Connectors(Timeouts()) as connectors:
        client, url = connectors.client(private=True), URL(f"http://127.0.0.1:{port}/")
        first = await client.request("POST", url, {}, b"{}")
        assert await first.read() == b"first"
        said.set()
        await asyncio.sleep(0.05)
        second = await client.request("POST", url, {}, b"{}")
        assert await second.read() == b"right"
