"""A provider on raw sockets that answers correctly except for the request that should fail."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_DISCONNECTED = (ConnectionError, asyncio.IncompleteReadError)


@dataclass(frozen=True)
class Reply:
    """A correct reply: status, content type, body."""

    status: int
    content_type: str
    body: bytes

    def head(self, *lines: str, length: int | None = -1) -> bytes:
        """Return the head with more `lines`; `length`: -1 for the body's, None for no header."""
        size = len(self.body) if length == -1 else length
        length_header = [] if size is None else [f"content-length: {size}"]
        first = [
            f"HTTP/1.1 {self.status} It",
            f"content-type: {self.content_type}",
            *length_header,
            *lines,
        ]
        return "\r\n".join([*first, "", ""]).encode("latin-1")

    @property
    def encoded(self) -> bytes:
        """Head and body."""
        return self.head() + self.body

    def replace(self, body: bytes, content_type: str = "", status: int = 0) -> Reply:
        """Return a copy with another body and, if given, another type or status."""
        return dataclasses.replace(
            self,
            body=body,
            content_type=content_type or self.content_type,
            status=status or self.status,
        )


class Connection:
    """The provider's end of a connection whose current request should fail."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.path = ""
        """The path of the request."""
        self.keep_open = False
        """Whether the provider accepts another request on it."""

    async def send(self, *chunks: bytes, delay: float = 0.0) -> None:
        """Write chunks, with `delay` seconds after each."""
        for chunk in chunks:
            self._writer.write(chunk)
            await self._writer.drain()
            if delay:
                await asyncio.sleep(delay)

    def reset(self) -> None:
        """Reset the connection: close it with RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def wait_for_close(self) -> None:
        """Send nothing more and wait until the peer closes."""
        while await self._reader.read(65536):
            pass


Respond = Callable[[Connection, Reply], Awaitable[None]]
"""Sends a faulty response, made from the correct reply."""


@dataclass
class Script:
    """How a provider answers in one cell: correct replies by method, and which one is faulty.

    `failures` is how often it is faulty. With `before_body` the faulty response is sent before the
    request's body is read. `delay` is the number of seconds before a paid call is answered.
    """

    replies: dict[str, Reply]
    faulty_method: str = ""
    respond: Respond | None = None
    failures: int = 1_000_000
    before_body: bool = False
    delay: float = 0.0
    paid: int = 0


@dataclass
class Provider:
    """Serves several scripts, chosen by the first segment of the path."""

    url: str = ""
    scripts: dict[str, Script] = field(default_factory=dict)
    connections: set[asyncio.StreamWriter] = field(default_factory=set)
    faulty: dict[asyncio.StreamWriter, asyncio.StreamReader] = field(default_factory=dict)
    """Connections with a faulty response."""
    tasks: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it is closed."""
        self.connections.add(writer)
        self.tasks.add(asyncio.current_task())
        try:
            with suppress(*_DISCONNECTED):
                while await self._serve_request(reader, writer):
                    pass
        finally:
            writer.close()
            self.connections.discard(writer)
            self.faulty.pop(writer, None)
            self.tasks.discard(asyncio.current_task())

    async def _serve_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.decode("latin-1").split(" ", 2)
        script = self.scripts[path.split("/")[1]]
        script.paid += method == "POST"
        is_faulty = (
            script.faulty_method == method and script.respond is not None and script.failures > 0
        )
        if not (is_faulty and script.before_body):
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
        if method == "POST":
            await asyncio.sleep(script.delay)
        if not is_faulty or script.respond is None:
            writer.write(script.replies[method].encoded)
            await writer.drain()
            return True
        script.failures -= 1
        connection = Connection(reader, writer)
        connection.path = path
        self.faulty[writer] = reader
        await script.respond(connection, script.replies[method])
        if connection.keep_open:
            self.faulty.pop(writer, None)
        return connection.keep_open

    @property
    def open_faulty_connections(self) -> int:
        """Number of connections with a faulty response that the gateway has not closed."""
        ends = self.faulty.items()
        return sum(not (it.at_eof() or writer.transport.is_closing()) for writer, it in ends)

    async def close(self) -> None:
        """Abort the remaining connections."""
        for writer in list(self.connections):
            writer.transport.abort()
        await asyncio.gather(*[it for it in self.tasks if it], return_exceptions=True)
