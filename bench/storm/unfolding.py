"""A few kilobytes that become many megabytes, or many values: requests, and replies."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import suppress

import orjson
from aiohttp import web

from .attacker import CUT, VIRTUAL_KEY, Attacker
from .storm import Storm

_BODIES_MB, _REPLY_MB = 32, 8
_STREAMS = 20
_GZIP = {"content-encoding": "gzip"}
_VALUES = b"{}," * (6 << 20)
_FEW_VALUES = b"{}," * 21_000


def _body(values: bytes) -> bytes:
    return b'{"prompt":"x","size":"64x64","a":[' + values + b"0]}"


_BODIES: tuple[tuple[bytes, dict[str, str]], ...] = (
    (_body(_VALUES[: 6 << 20]), {}),
    (gzip.compress(_body(_VALUES)), _GZIP),
    (gzip.compress(_body(_FEW_VALUES)), _GZIP),
    (_body(b""), {"x-portkey-metadata": '{"a":[' + "{}," * 10_000 + "0]}"}),
    (
        b'{"prompt":"x","a":[' + b"0," * 9_000 + b"0]}",
        {"x-portkey-config": orjson.dumps({"drop_params": ["a[0].b"] * 3_000}).decode()},
    ),
)


async def _send_requests(attacker: Attacker) -> None:
    async def send(number: int) -> str:
        body, headers = _BODIES[number % len(_BODIES)]
        return await attacker.post(number, body, {**VIRTUAL_KEY, **headers})

    await attacker.flood(send, rate=20, at_once=50)


REQUESTS = Storm(
    "requests",
    "requests that unfold: 6 MB of `{},`, 18 MB of it in gzip, 10,000 values in metadata, 3,000 "
    "paths to drop",
    _send_requests,
    refusals=frozenset({"413"}),
    allowed=frozenset({"400", "431", CUT}),
    settings=f"limits: {{bodies_bytes: {_BODIES_MB << 20}}}\n",
    memory_mb=_BODIES_MB,
)

_IMAGE = b'{"b64_json":"' + b"A" * 1000 + b'"}'
_REPLIES: tuple[tuple[bytes, dict[str, str]], ...] = (
    (b'{"data":[' + _VALUES[: 6 << 20] + _IMAGE + b"]}", {}),
    (gzip.compress(b'{"data":[' + _VALUES + _IMAGE + b"]}"), _GZIP),
    (gzip.compress(b'{"data":[' + _FEW_VALUES + _IMAGE + b"]}"), _GZIP),
)
_EVENT_PIECE = b'data: {"type":"image_generation.partial_image"}\n\n' * 1000
_PARSED = {"x-portkey-virtual-key": "attack-parsed"}
"""Of a provider whose replies are not relayed but parsed."""


async def _reply(request: web.Request) -> web.StreamResponse:
    """Reply with one of `_REPLIES`."""
    body, headers = _REPLIES[int((await request.json())["prompt"]) % len(_REPLIES)]
    return web.Response(body=body, headers=headers, content_type="application/json")


async def _stream_events(request: web.Request) -> web.StreamResponse:
    """Send events without end."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    with suppress(ConnectionError):
        while True:
            await response.write(_EVENT_PIECE)
            await asyncio.sleep(0.01)
    return response


async def _order_replies(attacker: Attacker) -> None:
    async def send(number: int) -> str:
        body = {"prompt": f"{number}", "model": "a"}
        return await attacker.post(number, orjson.dumps(body), _PARSED)

    await attacker.flood(send, rate=10, at_once=20)


REPLIES = Storm(
    "replies",
    "a provider's replies that unfold: 6 MB of `{},`, 18 MB of it in gzip",
    _order_replies,
    refusals=frozenset({"502"}),
    allowed=frozenset({CUT}),
    reply=_reply,
    settings=f"limits: {{reply_bytes: {_REPLY_MB << 20}}}\n",
    memory_mb=20 * _REPLY_MB,
)


async def _order_events(attacker: Attacker) -> None:
    async def send(number: int) -> str:
        body = {"prompt": f"{number}", "stream": True}
        return await attacker.post(number, orjson.dumps(body))

    await attacker.flood(send, rate=20, at_once=2 * _STREAMS)


EVENTS = Storm(
    "events",
    f"a provider's streams, {_STREAMS} at once, with events without end",
    _order_events,
    refusals=frozenset({"503"}),
    allowed=frozenset({CUT}),
    reply=_stream_events,
    settings=f"limits: {{caller_jobs: {_STREAMS}, reply_bytes: {_REPLY_MB << 20}}}\n",
)
