"""Clients that never read: images that are relayed, and images that must be converted."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from .attacker import CUT, Attacker
from .storm import Storm

_PIECE = b"A" * 65536
_PIECES = 96
"""Of 64 KB: an image of 6 MB."""
_HEADERS_START = b"POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\n"
_EACH = 1000
_MIN_SECONDS, _MAX_SECONDS = 5, 45
"""Seconds to generate a large image: minimum and maximum."""
_CONVERTED, _RATE = 100, 20
_JOB_MB = 0.04


async def _send_image(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"created":1,"data":[{"b64_json":"')
    for _ in range(_PIECES):
        await response.write(_PIECE)
    await response.write(b'"}]}')
    return response


async def _reply_later(request: web.Request) -> web.StreamResponse:
    """Reply with 6 MB after some seconds, which depend on the prompt."""
    number = int((await request.json())["prompt"]) % _EACH
    await asyncio.sleep(_MIN_SECONDS + number * (_MAX_SECONDS - _MIN_SECONDS) / _EACH)
    return await _send_image(request)


async def _reply_after_a_while(request: web.Request) -> web.StreamResponse:
    """Reply with 6 MB after as many seconds as it takes to exceed the caller's jobs."""
    await asyncio.sleep(_CONVERTED / _RATE + 1)
    return await _send_image(request)


async def _order_and_trickle(attacker: Attacker) -> None:
    async def never_read(number: int) -> str:
        return await attacker.post_unread(number, orjson.dumps({"prompt": f"{number}"}))

    async def trickle(number: int) -> str:
        return await attacker.trickle(number, _HEADERS_START, b"x-more: y\r\n")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(attacker.flood(never_read, rate=500, at_once=_EACH))
        tasks.create_task(attacker.flood(trickle, rate=500, at_once=_EACH))


RELAYED = Storm(
    "unread",
    "1,000 clients that never read an image of 6 MB, and 1,000 that never finish their headers",
    _order_and_trickle,
    refusals=frozenset({CUT, "408"}),
    reply=_reply_later,
    settings=(
        f"limits: {{jobs: {2 * _EACH}, caller_jobs: {_EACH}}}\ntimeouts: {{head: 15, unread: 15}}\n"
    ),
    memory_mb=_EACH * (0.2 + 2 * _JOB_MB),
    seconds=60,
)


async def _convert_unread(attacker: Attacker) -> None:
    async def never_read(number: int) -> str:
        body = {"prompt": f"{number}", "stream": True}
        return await attacker.post_unread(number, orjson.dumps(body))

    await attacker.flood(never_read, rate=_RATE, at_once=2 * _CONVERTED)


CONVERTED = Storm(
    "converted",
    "100 clients that want an image of 6 MB as events, which the provider sends as JSON, and never "
    "read it",
    _convert_unread,
    refusals=frozenset({"503"}),
    allowed=frozenset({CUT}),
    reply=_reply_after_a_while,
    settings=f"limits: {{caller_jobs: {_CONVERTED}}}\n",
    memory_mb=_CONVERTED * (0.45 + _JOB_MB),
    seconds=20,
)
