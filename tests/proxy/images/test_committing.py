"""The commit point: nothing is written into a body that has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import aiohttp
import pytest
from aiohttp import web

from adapters import adapter
from adapters.contract import Credentials
from proxy.errors import UpstreamFailed
from proxy.images.committing import poured
from proxy.keys import ATTEMPT, FAILURE
from proxy.plan import Attempt, Recording, Target
from tests.proxy.gateway import served


async def ask(failure: Exception | None) -> tuple[web.Request, Recording, bytes]:
    """Commit to an answer whose body is "begun", and then what follows."""
    seen: list[web.Request] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"begun"
        if failure:
            raise failure

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        attempt = Attempt(Target(adapter("openai"), Credentials("k"), ""), {}, None)
        attempt.recording = Recording(100)
        request[ATTEMPT] = attempt
        response = web.StreamResponse()
        return await poured(request, response, pieces())

    app = web.Application()
    app.router.add_get("/", handle)
    async with served(app) as url, aiohttp.ClientSession() as session, session.get(url) as got:
        try:
            body = await got.read()
        except aiohttp.ClientPayloadError:
            body = b"(cut)"
    recording = seen[0][ATTEMPT].recording
    assert recording
    return seen[0], recording, body


async def test_a_body_that_is_written_to_its_end_is_recorded() -> None:
    _, recording, body = await ask(None)
    assert body == b"begun"
    assert (recording.complete, recording.chunks) == (True, [b"begun"])


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (UpstreamFailed("lost", code="connection_lost"), "connection_lost"),
        (aiohttp.ClientConnectionResetError(), "client_gone"),
        (ConnectionError("Connection lost"), "client_gone"),
    ],
)
async def test_a_body_that_cannot_go_on_is_cut(failure: Exception, why: str) -> None:
    request, recording, body = await ask(failure)
    assert body == b"(cut)"
    assert request[FAILURE] == why
    assert not recording.complete


async def test_a_client_that_left_before_the_answer_began_is_noted() -> None:
    noted = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        request[ATTEMPT] = Attempt(Target(adapter("openai"), Credentials("k"), ""), {}, None)
        while request.transport is not None:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        response = await poured(request, web.StreamResponse(), nothing())
        assert request[FAILURE] == "client_gone"
        noted.set()
        return response

    async def nothing() -> AsyncGenerator[bytes, None]:
        yield b"never read"

    app = web.Application()
    app.router.add_get("/", handle)
    async with served(app) as url, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await session.get(url, timeout=aiohttp.ClientTimeout(total=0.1))
        await asyncio.wait_for(noted.wait(), 5)
