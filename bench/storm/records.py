"""Job records without end: what a provider adds to its replies is shared between processes."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from .attacker import VIRTUAL_KEY, Attacker
from .storm import Layout, Storm

_CALLER_JOBS, _RATE, _SECONDS = 50, 40, 3.0
_HEADERS = {f"x-{number}": "v" * 7_000 for number in range(60)}
_ERROR = orjson.dumps({"error": {"message": "m" * (1 << 20)}})


async def _reply(request: web.Request) -> web.Response:
    """Reply after a while with 420 KB of headers, or an error of 1 MB."""
    number = int((await request.json())["prompt"])
    await asyncio.sleep(_SECONDS * (number % 2))
    if number % 4 < 2:  # noqa: PLR2004 - half of them
        return web.Response(status=400, body=_ERROR, content_type="application/json")
    image = {"created": 1, "data": [{"b64_json": "A" * 1000}]}
    return web.json_response(image, headers=_HEADERS)


async def _flood(attacker: Attacker) -> None:
    async def send(number: int) -> str:
        body = orjson.dumps({"prompt": f"{number}"})
        key = {"prefer": "respond-async", "idempotency-key": f"attack-{number}"}
        return await attacker.post(number, body, {**VIRTUAL_KEY, **key})

    await attacker.flood(send, rate=_RATE, at_once=100)


def _storm(name: str, layout: Layout) -> Storm:
    return Storm(
        name,
        f"{_RATE} jobs per second whose replies have 420 KB of headers, or are errors of 1 MB",
        _flood,
        refusals=frozenset({"503"}),
        allowed=frozenset({"202"}),
        reply=_reply,
        layout=layout,
        settings=f"limits: {{caller_jobs: {_CALLER_JOBS}}}\n",
        seconds=15,
    )


WITH_WORKERS = _storm("records-workers", Layout.WORKERS)
WITH_REDIS = _storm("records-redis", Layout.NODES)
