"""An OpenAI-compatible provider with scripted behaviour that counts the calls it would charge."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from aiohttp import web

PATH = "/v1/images/generations"
COMPLETED = "image_generation.completed"
SIZE, HALF = 900_000, 300_000
"""Characters of an image in base64, and an offset well inside of it."""
SLOW_SECONDS = 1.0


@dataclass
class Call:
    """One paid call: the request, the body of its answer, and the event it may wait for."""

    request: web.Request
    body: bytes
    gate: asyncio.Event
    content_type: str = "application/json"


Behaviour = Callable[[Call], Awaitable[web.StreamResponse]]
"""How the provider answers a call."""


@dataclass
class Provider:
    """Returns a different image for each call, and counts calls by scenario (the prompt)."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    images: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    called: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    gates: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Count a call and answer it with the behaviour of its scenario."""
        params = await request.json()
        name = params["prompt"].partition(" + ")[0]
        self.calls[name] += 1
        b64 = f"{len(name):04}{self.calls[name]:08}".ljust(SIZE, "A")
        self.images[name].add(b64)
        self.called[name].set()
        call = Call(request, orjson.dumps({"data": [{"b64_json": b64}]}), self.gates[name])
        if params.get("stream"):
            data = {"type": COMPLETED, "b64_json": b64, "created_at": 1}
            call.content_type = "text/event-stream"
            call.body = b"event: %b\ndata: %b\n\n" % (COMPLETED.encode(), orjson.dumps(data))
        return await self.behaviours[name](call)


async def hold(call: Call) -> web.StreamResponse:
    """Answer once the gate is set."""
    await call.gate.wait()
    return web.Response(body=call.body, content_type=call.content_type)


async def begin_then_hold(call: Call) -> web.StreamResponse:
    """Send the beginning at once and the rest when the gate is set."""
    response = await _send_beginning(call)
    await call.gate.wait()
    await response.write(call.body[2 * HALF :])
    return response


async def answer_slowly(call: Call) -> web.StreamResponse:
    """Answer after a second, in small chunks."""
    await asyncio.sleep(SLOW_SECONDS)
    response = web.StreamResponse(headers={"content-type": call.content_type})
    await response.prepare(call.request)
    for at in range(0, len(call.body), HALF // 10):
        await response.write(call.body[at : at + HALF // 10])
        await asyncio.sleep(0.01)
    return response


async def abort_early(call: Call) -> web.StreamResponse:
    """Abort the connection before the response headers."""
    return _abort(call, web.Response())


async def abort_mid_body(call: Call) -> web.StreamResponse:
    """Abort the connection in the middle of the body."""
    return _abort(call, await _send_beginning(call))


async def _send_beginning(call: Call) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": call.content_type})
    await response.prepare(call.request)
    await response.write(call.body[: 2 * HALF])
    return response


def _abort(call: Call, response: web.StreamResponse) -> web.StreamResponse:
    if call.request.transport:
        call.request.transport.abort()
    return response


@asynccontextmanager
async def run_provider(provider: Provider) -> AsyncIterator[str]:
    """Run the provider; yield its URL."""
    app = web.Application()
    app.router.add_post(PATH, provider.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=256).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
