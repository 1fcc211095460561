"""An answer that goes onto a recording."""

from __future__ import annotations

import weakref
from pathlib import Path

import aiohttp
from aiohttp import web

from proxy.context import COMMITTED, DRAINING, TRACE_ID
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.capture import capture_request, capture_response
from proxy.jobs.recording import Recording
from proxy.middlewares.access import set_gateway_headers
from tests.support.gateway import served


async def test_a_staged_answer_is_on_the_tape_and_not_at_the_client(tmp_path: Path) -> None:
    recording = Recording(RecordingBudget(1 << 20, 0), tmp_path / "recording")
    seen: list[tuple[bool, str, str]] = []

    async def inner(request: web.Request) -> web.StreamResponse:
        seen.append((request.get(COMMITTED, False), request[TRACE_ID], request.match_info["name"]))
        response = web.StreamResponse(status=201, headers={"x-said": "yes"})
        await response.prepare(request)
        seen.append((request.get(COMMITTED, False), request[TRACE_ID], await request.text()))
        for piece in (b"one, ", bytearray(b"two, "), memoryview(b"three")):
            await response.write(piece)
        return response

    async def outer(request: web.Request) -> web.StreamResponse:
        request[TRACE_ID] = "t1"
        stage = capture_request(request, recording)
        left = weakref.ref(stage)
        await capture_response(stage, recording, inner)
        del stage
        assert left() is None  # Nothing is left for the garbage collector to find.
        recording.end(None)
        assert COMMITTED not in request
        return web.Response(text="the client's own")

    app = web.Application()
    app[DRAINING] = []
    app.on_response_prepare.append(set_gateway_headers)
    app.router.add_post("/{name}", outer)
    async with (
        served(app) as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/ada", data="asked") as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "the client's own")
    assert seen == [(False, "t1", "ada"), (True, "t1", "asked")]
    assert recording.head is not None
    assert (recording.head.status, recording.head.headers["x-said"]) == (201, "yes")
    assert not {"date", "server", "connection", "transfer-encoding"} & {
        name.lower() for name in recording.head.headers
    }
    assert b"".join([piece async for piece in recording.chunks()]) == b"one, two, three"


async def test_an_answer_that_is_all_there_is_on_the_tape_as_any_other(tmp_path: Path) -> None:
    recording = Recording(RecordingBudget(1 << 20, 0), tmp_path / "recording")

    async def stamp(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["x-trace"] = request[TRACE_ID]
        response.headers["server"] = "easel"

    async def inner(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(body=b"whole", status=201, content_type="text/plain")

    async def outer(request: web.Request) -> web.StreamResponse:
        request[TRACE_ID] = "t1"
        await capture_response(capture_request(request, recording), recording, inner)
        recording.end(None)
        return web.Response()

    app = web.Application()
    app.on_response_prepare.append(stamp)
    app.router.add_get("/", outer)
    async with served(app) as url, aiohttp.ClientSession() as session, session.get(url) as answer:
        assert await answer.read() == b""
    assert recording.head is not None
    told = {"content-type": "text/plain", "content-length": "5", "x-trace": "t1"}
    assert (recording.head.status, recording.short_body) == (201, b"whole")
    assert {name.lower(): value for name, value in recording.head.headers.items()} == told
