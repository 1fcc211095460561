"""Bare client connections to a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

from tests.support.gateway import Gateway

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connection_to(ours: Gateway) -> AsyncIterator[Streams]:
    """Open a bare connection."""
    url = URL(ours.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer_to(ours: Gateway, *pieces: bytes) -> bytes:
    """Send bytes; return all that the gateway sends until it closes the connection."""
    async with connection_to(ours) as (reader, writer), asyncio.timeout(20):
        answer = asyncio.ensure_future(_read(reader))
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        return await answer


async def _read(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    with suppress(ConnectionError):
        while piece := await reader.read(1 << 16):
            answer += piece
    return answer
