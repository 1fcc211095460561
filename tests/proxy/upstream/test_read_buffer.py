"""What providers' connections hold: a bounded sum, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket, socketpair

import pytest
from aiohttp import ClientResponse, web
from yarl import URL

from proxy.jobs.budget import Shelf
from proxy.jobs.recording import Tape
from proxy.settings.schema import Timeouts
from proxy.upstream import read_buffer
from proxy.upstream.connector import Dialer
from proxy.upstream.read_buffer import Intake
from tests.support.gateway import provider

MANY = 80
MB = 1024 * 1024
BODY = b"x" * MB
MEMORY = 2 * MB


@dataclass(eq=False)
class Heard:
    """A job whose client is there and has read nothing yet: nothing of it can be given up."""

    tape: Tape
    listeners: int = 1
    delivered: int = 0
    is_heard: bool = True

    def give_up(self) -> None:
        raise AssertionError


@asynccontextmanager
async def responses(count: int) -> AsyncIterator[tuple[list[ClientResponse], Intake]]:
    """Have so many answers of 1 MB under way at once, none of them read yet."""
    asked, all_there = [], asyncio.Event()

    async def reply(request: web.Request) -> web.Response:
        asked.append(request)
        if len(asked) == count:
            all_there.set()
        await all_there.wait()
        return web.Response(body=BODY)

    async with provider(reply) as fake, Dialer(Timeouts()) as dialer:
        door, url = dialer.door(private=True), URL(fake.url)
        asking = (door.request("POST", url, {}, b"{}") for _ in range(count))
        got = await asyncio.gather(*asking)
        yield got, dialer._intake
        for response in got:
            response.close()


async def settled(held: Callable[[], int]) -> int:
    """Give a number once it has stayed the same for a while."""
    before = -1
    while before != held():
        before = held()
        await asyncio.sleep(0.2)
    return before


@pytest.mark.parametrize(
    ("opened", "step"),
    [(0, 256), (16, 256), (17, 128), (128, 128), (256, 64), (512, 32), (1024, 16), (9999, 16)],
)
def test_the_more_connections_there_are_the_less_each_reads_at_once(opened: int, step: int) -> None:
    counting = Intake()
    counting.opened = opened
    assert counting.step == len(counting.room) == step * 1024


async def test_connections_are_counted_while_they_are_open() -> None:
    async with responses(3) as (got, counting):
        assert counting.opened == 3
        got[0].close()
        await asyncio.sleep(0)
        assert counting.opened == 2
    await asyncio.sleep(0)
    assert counting.opened == 0


async def test_what_waits_for_room_and_in_connections_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many connections for what they may hold as 1,280 in earnest.
    monkeypatch.setattr(read_buffer, "_FEW", 0)
    monkeypatch.setattr(read_buffer, "_AHEAD", MB)
    monkeypatch.setattr(read_buffer, "_LEAST", 1024)
    shelf = Shelf(MEMORY, 0)

    async def taken(response: ClientResponse, number: int) -> None:
        holder = Heard(Tape(shelf, tmp_path / str(number)))
        shelf.add(holder)
        while piece := await response.content.readany():
            await holder.tape.append(piece)

    async with responses(MANY) as (got, counting):
        taking = [asyncio.create_task(taken(it, number)) for number, it in enumerate(got)]
        held = await settled(lambda: shelf.in_memory + sum(it.content._size for it in got))
        # What each may have left in its buffer and still read on, and what it then reads: once
        # there, and once on its way to the shelf.
        left = read_buffer._LEAST // 2
        assert MEMORY < held <= MEMORY + 2 * MANY * (left + counting.step)
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)


@pytest.mark.parametrize("leave", [lambda it: it.close(), lambda it: it.send(b"HTTP/1.1 200 It")])
async def test_what_a_provider_does_unasked_is_seen_before_the_loop_sees_it(
    leave: Callable[[socket], object],
) -> None:
    ours, theirs = socketpair()
    loop = asyncio.get_running_loop()
    _, handler = await loop.create_connection(lambda: Intake().connection(loop), sock=ours)
    with theirs:
        assert handler.is_connected()
        leave(theirs)
        assert not handler.is_connected()
        handler.close()


async def test_an_answer_that_nobody_asked_for_is_nobodys() -> None:
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
    async with server, Dialer(Timeouts()) as dialer:
        door, url = dialer.door(private=True), URL(f"http://127.0.0.1:{port}/")
        first = await door.request("POST", url, {}, b"{}")
        assert await first.read() == b"first"
        said.set()
        await asyncio.sleep(0.05)
        second = await door.request("POST", url, {}, b"{}")
        assert await second.read() == b"right"
