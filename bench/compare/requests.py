"""Single requests: correct responses, event latency, slow readers."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson

from . import mock
from .load import BadAnswersError, Request
from .servers import Server

_OK = 200
_CHUNK_BYTES = 64 * 1024
_START_TIMEOUT_SECONDS = 60
"""Time limit for the first response of a new server."""


@asynccontextmanager
async def clients() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session without limits."""
    connector = aiohttp.TCPConnector(limit=0)
    unlimited = aiohttp.ClientTimeout(total=None, sock_read=120)
    async with aiohttp.ClientSession(connector=connector, timeout=unlimited) as session:
        yield session


async def send_request(session: aiohttp.ClientSession, server: Server, request: Request) -> bytes:
    """Send one request; return the body. Raise `BadAnswersError` unless it succeeds."""
    async with session.post(
        server.url + request.path, data=request.body, headers=request.headers
    ) as response:
        body = await response.read()
    if response.status != _OK:
        message = f"{server.name}, {request.path}: status {response.status}: {body[:300]!r}"
        raise BadAnswersError(message)
    return body


async def check_image(
    session: aiohttp.ClientSession, server: Server, request: Request, image: bytes
) -> None:
    """Send one request; raise `BadAnswersError` unless it returns that image."""
    body = await send_request(session, server, request)
    try:
        (item,) = orjson.loads(body)["data"]
        image_bytes = b64decode(item["b64_json"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadAnswersError(f"{server.name}, {request.path}: no image: {body[:300]!r}") from error
    if image_bytes != image:
        raise BadAnswersError(f"{server.name}, {request.path}: not the provider's image")


async def first_response_time(server: Server, request: Request) -> float:
    """Return the seconds from the start of a server's process to its first response."""
    async with clients() as session:
        while True:
            try:
                await send_request(session, server, request)
            except (aiohttp.ClientConnectionError, BadAnswersError):
                if time.monotonic() - server.started > _START_TIMEOUT_SECONDS:
                    raise
                await asyncio.sleep(0.005)
            else:
                return time.monotonic() - server.started


async def events(session: aiohttp.ClientSession, server: Server, request: Request) -> list[float]:
    """Request a stream; return the latency of each event in seconds."""
    delays: list[float] = []
    rest = b""
    async with session.post(
        server.url + request.path, data=request.body, headers=request.headers
    ) as response:
        async for chunk in response.content.iter_any():
            now = time.monotonic_ns()
            rest += chunk
            while b"\n\n" in rest:
                event, _, rest = rest.partition(b"\n\n")
                data = event.partition(b"data: ")[2]
                delays.append((now - orjson.loads(data)["created_at"]) / 1e9)
    if response.status != _OK or len(delays) != len(mock.EVENTS):
        raise BadAnswersError(f"{server.name}: status {response.status}, {len(delays)} events")
    return delays


async def read_slowly(
    session: aiohttp.ClientSession, server: Server, request: Request, seconds: float
) -> None:
    """Send a request and read the response over `seconds`; raise `BadAnswersError`."""
    pause = seconds / (request.min_bytes / _CHUNK_BYTES)
    received = 0
    async with session.post(
        server.url + request.path, data=request.body, headers=request.headers
    ) as response:
        while chunk := await response.content.read(_CHUNK_BYTES):
            received += len(chunk)
            await asyncio.sleep(pause * len(chunk) / _CHUNK_BYTES)
    if response.status != _OK or received < request.min_bytes:
        raise BadAnswersError(f"{server.name}: status {response.status}, {received} bytes")
