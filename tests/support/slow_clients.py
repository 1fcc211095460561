"""Clients that send or read slowly on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import orjson

from tests.support.gateway import KEY, PATH

TIMES = "timeouts: {head: 1, body: 1, unread: 1, keepalive: 2}\n"
PICTURE = orjson.dumps({"created": 1, "data": [{"b64_json": "A" * (12 << 20)}]})
KEYED = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nx-portkey-api-key: {KEY}\r\n".encode()


async def trickled(writer: asyncio.StreamWriter, pieces: Iterator[bytes]) -> None:
    """Send piece after piece, each in good time, until the other side has had enough."""
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.1)


def headers_for_ever() -> Iterator[bytes]:
    yield KEYED
    while True:
        yield b"x-a: b\r\n"


def body_for_ever() -> Iterator[bytes]:
    yield KEYED + b"content-type: application/json\r\ncontent-length: 1000000\r\n\r\n"
    while True:
        yield b" "


async def read_to_its_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""
