"""Bare sockets: for bytes that no well-behaved client or server would send."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from yarl import URL

from proxy.upstream.client import PROVIDER_CLIENT
from tests.support.gateway import OURS, PATH, Answered, Gateway, gateway

SECRET = "sk-stored/secret+0123456789"
"""The credential of the virtual key."""

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_BODY = b'{"prompt":"a cube"}'


async def shout(ours: Gateway, *lines: bytes, body: bytes = _BODY, known: bool = True) -> Answered:
    """Send a request for a picture with header lines as they are; `known` adds our own key."""
    url = URL(ours.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    key = [f"{name}: {value}".encode() for name, value in OURS.items()] if known else []
    length = b"content-length: %d" % len(body)
    head = [f"POST {PATH} HTTP/1.1".encode(), b"host: localhost", b"connection: close", length]
    writer.write(b"\r\n".join([*head, *key, *lines, b"", body]))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    top, _, rest = answer.partition(b"\r\n\r\n")
    status, *fields = top.decode().split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields)
    return Answered(int(status.split()[1]), headers, rest)


@asynccontextmanager
async def wire(*pieces: bytes, then: str = "close", pause: float = 0.0) -> AsyncIterator[str]:
    """Run a provider that writes `pieces` when it has been asked, then does as `then` says.

    `close` ends the connection, `reset` breaks it, `silence` keeps it open without a word.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            if then == "silence":
                await reader.read()
            if then == "reset":
                _break(writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def deaf(answer: bytes) -> AsyncIterator[str]:
    """Run a provider that answers as soon as it has a head, and reads nothing after it."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's can
        writer.write(answer)
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        server.close()


@asynccontextmanager
async def gateway_at(url: str, more: str = "") -> AsyncIterator[Gateway]:
    """Run a gateway whose virtual key `up` leads to a provider in OpenAI's shape at `url`."""
    stored = f"{{provider: openai, api_key: {SECRET}, custom_host: '{url}/v1'}}"
    async with gateway(f"virtual_keys: {{up: {stored}}}\n{more}") as ours:
        yield ours


def connections(ours: Gateway) -> int:
    """Count the connections in use."""
    dialer = ours.app[PROVIDER_CLIENT].connectors
    connectors: list[Any] = [dialer.client(private=it).session.connector for it in (False, True)]
    return sum(len(connector._acquired) for connector in connectors)


def _break(writer: asyncio.StreamWriter) -> None:
    """Close at once and answer with RST: what is lost is lost."""
    opened = writer.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
