"""A TCP proxy between a client and a server that cuts the first connection.

Later connections, the retries, pass unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

_CHUNK = 64 * 1024

CutAt = asyncio.Event | int | None
"""When to cut: at an event, before any response; after this many bytes of the body; None: never."""


class FlakyProxy:
    """The proxy. `reconnected` is set at the second connection."""

    def __init__(self, url: str, when: CutAt) -> None:
        self.url = ""
        self.reconnected = asyncio.Event()
        self._there = URL(url)
        self._when = when
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: list[asyncio.Task[None] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        self._serving.append(asyncio.current_task())
        is_first = len(self._serving) == 1
        if not is_first:
            self.reconnected.set()
        from_there, to_there = await asyncio.open_connection(self._there.host, self._there.port)
        self._writers += [writer, to_there]
        going = asyncio.ensure_future(_relay(reader, to_there))
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._back(from_there, writer, self._when if is_first else None)
        writer.close()
        to_there.close()
        await going

    async def _back(
        self, source: asyncio.StreamReader, writer: asyncio.StreamWriter, when: CutAt
    ) -> None:
        if isinstance(when, asyncio.Event):
            await when.wait()
            writer.transport.abort()
        elif when is None:
            await _relay(source, writer)
        else:
            writer.write(await source.readuntil(b"\r\n\r\n"))
            writer.write(await source.readexactly(when))
            await writer.drain()

    async def close(self) -> None:
        """Cut the remaining connections."""
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*[it for it in self._serving if it], return_exceptions=True)


async def _relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Relay bytes until one end closes."""
    with suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
    sink.close()


@asynccontextmanager
async def flaky_proxy(url: str, when: CutAt) -> AsyncIterator[FlakyProxy]:
    """Run a proxy to the server at `url`."""
    wire = FlakyProxy(url, when)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        await wire.close()
