"""Clients that are slow on purpose, against the gateway as users start it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from yarl import URL

from tests.support.gateway import OURS, PATH
from tests.support.single_gateway import (
    SANDBOX,
    Running,
    led_to,
    running,
    slow_provider,
    slow_reader,
)
from tests.support.slow_clients import (
    KEYED,
    PICTURE,
    TIMES,
    body_for_ever,
    headers_for_ever,
    read_to_its_end,
    trickled,
)

ENDLESS = 10
"""Seconds after which a client has not been cut."""


@asynccontextmanager
async def talking(
    easel: Running,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection, and see that the gateway ends it in time."""
    url = URL(easel.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    async with asyncio.timeout(ENDLESS):
        yield reader, writer
    writer.close()


async def test_heads_that_trickle_or_never_begin_are_cut(tmp_path: Path) -> None:
    async with running(tmp_path, SANDBOX + TIMES) as easel:
        for pieces in (headers_for_ever(), iter(())):
            async with talking(easel) as (reader, writer):
                trickling = asyncio.create_task(trickled(writer, pieces))
                assert await read_to_its_end(reader) == b""
                trickling.cancel()
        assert await easel.ready() == 200


async def test_a_second_head_has_no_longer_than_a_connection_may_idle(tmp_path: Path) -> None:
    async with running(tmp_path, SANDBOX + TIMES) as easel, talking(easel) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        trickling = asyncio.create_task(trickled(writer, headers_for_ever()))
        assert await read_to_its_end(reader) == b""
        trickling.cancel()


async def test_a_body_that_trickles_is_told_why_it_is_cut(tmp_path: Path) -> None:
    async with running(tmp_path, SANDBOX + TIMES) as easel:
        async with talking(easel) as (reader, writer):
            trickling = asyncio.create_task(trickled(writer, body_for_ever()))
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            trickling.cancel()
        assert head.startswith(b"HTTP/1.1 408")
        assert orjson.loads(body)["error"]["code"] == "request_too_slow"
        easel.tell()
        status, out, err = await easel.end()
        assert (status, err) == (0, "")
        assert '"error":"request_too_slow"' in out


async def test_a_slow_body_that_makes_progress_is_read(tmp_path: Path) -> None:
    body = b'{"prompt": "x", "size": "64x64"}' + b" " * 200_000
    async with running(tmp_path, SANDBOX + TIMES) as easel, talking(easel) as (reader, writer):
        writer.write(
            KEYED + b"content-type: application/json\r\nx-portkey-virtual-key: box\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        await trickled(writer, (body[at : at + 8_000] for at in range(0, len(body), 8_000)))
        assert (await reader.read()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_never_reads_is_cut_and_its_picture_kept(tmp_path: Path) -> None:
    async with slow_provider(PICTURE) as fake:
        settings = led_to(fake, TIMES + "configs: {kept: {virtual_key: box}}")
        async with running(tmp_path, settings) as easel:
            with slow_reader(easel.url) as read:
                await asyncio.sleep(3)
                assert len(await asyncio.to_thread(read)) < len(PICTURE)
            again = {**OURS, "x-portkey-config": "kept", "x-stainless-retry-count": "1"}
            asked = easel.session.post(easel.url + PATH, json={"prompt": "x"}, headers=again)
            async with asked as got:
                assert await got.read() == PICTURE
        assert len(fake.requests) == 1
