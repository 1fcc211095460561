"""A provider on bare sockets: good until it comes to the step that goes wrong."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_GONE = (ConnectionError, asyncio.IncompleteReadError)


@dataclass(frozen=True)
class Reply:
    """A reply as it should be: its status, its content type, its body."""

    status: int
    kind: str
    body: bytes

    def head(self, *lines: str, length: int | None = -1) -> bytes:
        """Write the head, further lines in it; -1: with the body's length, None: without any."""
        told = len(self.body) if length == -1 else length
        sized = [] if told is None else [f"content-length: {told}"]
        first = [f"HTTP/1.1 {self.status} It", f"content-type: {self.kind}", *sized, *lines]
        return "\r\n".join([*first, "", ""]).encode("latin-1")

    @property
    def whole(self) -> bytes:
        """Write all of it."""
        return self.head() + self.body

    def but(self, body: bytes, kind: str = "", status: int = 0) -> Reply:
        """Give another one instead."""
        return replace(self, body=body, kind=kind or self.kind, status=status or self.status)


class Line:
    """The provider's end of a connection that has been asked for what goes wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.stays = False
        """Whether another request may follow."""

    async def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Write, piece by piece."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            if pause:
                await asyncio.sleep(pause)

    def reset(self) -> None:
        """Close at once and answer with RST."""
        opened = self._writer.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def silence(self) -> None:
        """Say no more, until the other side gives up."""
        while await self._reader.read(65536):
            pass


Play = Callable[[Line, Reply], Awaitable[None]]
"""How a good reply is spoiled."""


@dataclass
class Part:
    """A provider's part in one cell: its replies by method, and which of them goes wrong.

    `times` is how often it goes wrong; `early`: before the request's body is read; `pause` are
    seconds before what is paid for is answered.
    """

    replies: dict[str, Reply]
    method: str = ""
    play: Play | None = None
    times: int = 1_000_000
    early: bool = False
    pause: float = 0.0
    paid: int = 0


@dataclass
class Provider:
    """Plays several parts: the first step of a path says which."""

    url: str = ""
    parts: dict[str, Part] = field(default_factory=dict)
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    spoiled: dict[asyncio.StreamWriter, asyncio.StreamReader] = field(default_factory=dict)
    """Connections in which something is going wrong."""
    tasks: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection to its end."""
        self.open.add(writer)
        self.tasks.add(asyncio.current_task())
        try:
            with suppress(*_GONE):
                while await self._served(reader, writer):
                    pass
        finally:
            writer.close()
            self.open.discard(writer)
            self.spoiled.pop(writer, None)
            self.tasks.discard(asyncio.current_task())

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.decode("latin-1").split(" ", 2)
        part = self.parts[path.split("/")[1]]
        part.paid += method == "POST"
        spoils = part.method == method and part.play is not None and part.times > 0
        if not (spoils and part.early):
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
        if method == "POST":
            await asyncio.sleep(part.pause)
        if not spoils or part.play is None:
            writer.write(part.replies[method].whole)
            await writer.drain()
            return True
        part.times -= 1
        line = Line(reader, writer)
        self.spoiled[writer] = reader
        await part.play(line, part.replies[method])
        if line.stays:
            self.spoiled.pop(writer, None)
        return line.stays

    @property
    def left(self) -> int:
        """Count the connections in which something goes wrong, and which nobody has closed."""
        ends = self.spoiled.items()
        return sum(not (it.at_eof() or writer.transport.is_closing()) for writer, it in ends)

    async def close(self) -> None:
        """Cut whatever is left."""
        for writer in list(self.open):
            writer.transport.abort()
        await asyncio.gather(*[it for it in self.tasks if it], return_exceptions=True)
