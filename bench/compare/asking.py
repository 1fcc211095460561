"""Single requests: is an answer right, when do events arrive, what do slow readers cost."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson

from . import mock
from .load import Asked, BadAnswersError
from .servers import Server

_OK = 200
_PIECE = 64 * 1024
_PATIENCE = 60
"""Seconds in which a server has to give its first answer."""


@asynccontextmanager
async def clients() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a session without bounds."""
    connector = aiohttp.TCPConnector(limit=0)
    unlimited = aiohttp.ClientTimeout(total=None, sock_read=120)
    async with aiohttp.ClientSession(connector=connector, timeout=unlimited) as session:
        yield session


async def asks(session: aiohttp.ClientSession, server: Server, asked: Asked) -> bytes:
    """Ask once; raises `BadAnswersError` where that is no success."""
    async with session.post(
        server.url + asked.path, data=asked.body, headers=asked.headers
    ) as response:
        body = await response.read()
    if response.status != _OK:
        told = f"{server.name}, {asked.path}: status {response.status}: {body[:300]!r}"
        raise BadAnswersError(told)
    return body


async def is_right(
    session: aiohttp.ClientSession, server: Server, asked: Asked, picture: bytes
) -> None:
    """Ask once; raises `BadAnswersError` where the answer does not hold that picture."""
    body = await asks(session, server, asked)
    try:
        (image,) = orjson.loads(body)["data"]
        got = b64decode(image["b64_json"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadAnswersError(f"{server.name}, {asked.path}: no picture: {body[:300]!r}") from error
    if got != picture:
        raise BadAnswersError(f"{server.name}, {asked.path}: another picture than the provider's")


async def first_answer(server: Server, asked: Asked) -> float:
    """Give the seconds from the start of a server's process to its first answer."""
    async with clients() as session:
        while True:
            try:
                await asks(session, server, asked)
            except (aiohttp.ClientConnectionError, BadAnswersError):
                if time.monotonic() - server.started > _PATIENCE:
                    raise
                await asyncio.sleep(0.005)
            else:
                return time.monotonic() - server.started


async def events(session: aiohttp.ClientSession, server: Server, asked: Asked) -> list[float]:
    """Ask for events; gives the seconds that each took from the provider to here."""
    late: list[float] = []
    rest = b""
    async with session.post(
        server.url + asked.path, data=asked.body, headers=asked.headers
    ) as response:
        async for piece in response.content.iter_any():
            now = time.monotonic_ns()
            rest += piece
            while b"\n\n" in rest:
                event, _, rest = rest.partition(b"\n\n")
                data = event.partition(b"data: ")[2]
                late.append((now - orjson.loads(data)["created_at"]) / 1e9)
    if response.status != _OK or len(late) != len(mock.EVENTS):
        raise BadAnswersError(f"{server.name}: status {response.status}, {len(late)} events")
    return late


async def reads_slowly(
    session: aiohttp.ClientSession, server: Server, asked: Asked, seconds: float
) -> None:
    """Ask, and read the answer over so many seconds; raises `BadAnswersError`."""
    pause = seconds / (asked.least / _PIECE)
    seen = 0
    async with session.post(
        server.url + asked.path, data=asked.body, headers=asked.headers
    ) as response:
        while piece := await response.content.read(_PIECE):
            seen += len(piece)
            await asyncio.sleep(pause * len(piece) / _PIECE)
    if response.status != _OK or seen < asked.least:
        raise BadAnswersError(f"{server.name}: status {response.status}, {seen} bytes")
