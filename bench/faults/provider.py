"""A provider that speaks OpenAI's shape, behaves as it is told, and counts what it charges."""

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
"""Characters of a picture, and bytes that are well inside of it."""
SLOW_SECONDS = 1.0


@dataclass
class Order:
    """One paid call: its answer's bytes, what it waits for, and the request to answer."""

    request: web.Request
    body: bytes
    gate: asyncio.Event
    kind: str = "application/json"


Play = Callable[[Order], Awaitable[web.StreamResponse]]
"""How the provider behaves."""


@dataclass
class Provider:
    """Makes a picture a call, each unlike any other, and counts. A prompt names the story."""

    plays: dict[str, Play] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    made: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    called: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    gates: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Charge for a call, and play."""
        asked = await request.json()
        name = asked["prompt"].partition(" + ")[0]
        self.calls[name] += 1
        b64 = f"{len(name):04}{self.calls[name]:08}".ljust(SIZE, "A")
        self.made[name].add(b64)
        self.called[name].set()
        order = Order(request, orjson.dumps({"data": [{"b64_json": b64}]}), self.gates[name])
        if asked.get("stream"):
            told = {"type": COMPLETED, "b64_json": b64, "created_at": 1}
            order.kind = "text/event-stream"
            order.body = b"event: %b\ndata: %b\n\n" % (COMPLETED.encode(), orjson.dumps(told))
        return await self.plays[name](order)


async def waits(order: Order) -> web.StreamResponse:
    """Answer once the gate is open."""
    await order.gate.wait()
    return web.Response(body=order.body, content_type=order.kind)


async def begins(order: Order) -> web.StreamResponse:
    """Begin at once, and go on once the gate is open."""
    response = await _begun(order)
    await order.gate.wait()
    await response.write(order.body[2 * HALF :])
    return response


async def is_slow(order: Order) -> web.StreamResponse:
    """Answer after a while, in small pieces."""
    await asyncio.sleep(SLOW_SECONDS)
    response = web.StreamResponse(headers={"content-type": order.kind})
    await response.prepare(order.request)
    for at in range(0, len(order.body), HALF // 10):
        await response.write(order.body[at : at + HALF // 10])
        await asyncio.sleep(0.01)
    return response


async def cuts(order: Order) -> web.StreamResponse:
    """Break off before the answer."""
    return _broken(order, web.Response())


async def cuts_half_way(order: Order) -> web.StreamResponse:
    """Break off in the middle of it."""
    return _broken(order, await _begun(order))


async def _begun(order: Order) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": order.kind})
    await response.prepare(order.request)
    await response.write(order.body[: 2 * HALF])
    return response


def _broken(order: Order, response: web.StreamResponse) -> web.StreamResponse:
    if order.request.transport:
        order.request.transport.abort()
    return response


@asynccontextmanager
async def charging(provider: Provider) -> AsyncIterator[str]:
    """Run the provider; gives its URL."""
    app = web.Application()
    app.router.add_post(PATH, provider.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=256).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
