"""The commit point: what is written is recorded, and what breaks off is raised."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import aiohttp
import pytest
from aiohttp import web

from adapters import adapter
from adapters.contract import Credentials
from proxy.context import ATTEMPT, ERROR_CODE
from proxy.errors import UpstreamFailed
from proxy.pipeline.stream_response import poured
from proxy.routing.attempt import Attempt, Recording
from proxy.routing.plan import Target
from tests.support.gateway import served


async def ask(failure: UpstreamFailed | None) -> tuple[web.Request, Recording]:
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
        if not failure:
            return await poured(request, response, pieces())
        with pytest.raises(UpstreamFailed):
            await poured(request, response, pieces())
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    async with served(app) as url, aiohttp.ClientSession() as session, session.get(url) as got:
        assert await got.read() == b"begun"
    recording = seen[0][ATTEMPT].recording
    assert recording
    return seen[0], recording


async def test_a_body_that_is_written_to_its_end_is_recorded() -> None:
    _, recording = await ask(None)
    assert (recording.complete, recording.chunks) == (True, [b"begun"])


async def test_a_body_that_breaks_off_is_told_and_not_recorded_as_whole() -> None:
    request, recording = await ask(UpstreamFailed("lost", code="connection_lost"))
    assert request[ERROR_CODE] == "connection_lost"
    assert not recording.complete
