"""The commit point: nothing is written into a body that has begun."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from adapters import adapter
from adapters.contract import Credentials
from proxy.errors import UpstreamFailed
from proxy.images.committing import committed
from proxy.keys import ATTEMPT, FAILURE
from proxy.plan import Attempt, Recording, Target
from tests.proxy.gateway import served


async def ask(failure: Exception | None) -> tuple[web.Request, Recording, bytes]:
    """Commit to an answer whose body is "begun", and then what follows."""
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        attempt = Attempt(Target(adapter("openai"), Credentials("k"), ""), {}, None)
        attempt.recording = Recording(100)
        request[ATTEMPT] = attempt
        response = web.StreamResponse()
        async with committed(request, response) as out:
            await out.write(b"begun")
            if failure:
                raise failure
        return response

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
    ],
)
async def test_a_body_that_cannot_go_on_is_cut(failure: Exception, why: str) -> None:
    request, recording, body = await ask(failure)
    assert body == b"(cut)"
    assert request[FAILURE] == why
    assert not recording.complete
