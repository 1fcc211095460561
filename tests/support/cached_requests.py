"""Requests through a gateway whose cache is on."""

from __future__ import annotations

import base64
import itertools

import orjson
from aiohttp import web

from adapters.tools.sse import EventParser
from tests.support.gateway import (
    PNG,
    Answered,
    Gateway,
    json_reply,
)

CACHED = """
configs:
  pc: {virtual_key: up, cache: {mode: simple}}
  pool: {virtual_key: up, cache: {mode: simple, pool: true}}
  shared: {virtual_key: up, cache: {mode: simple, shared: true}}
"""
PC, POOL, SHARED = {"config": "pc"}, {"config": "pool"}, {"config": "shared"}
COMPLETED = "image_generation.completed"
_COUNT = itertools.count()


def picture(size: int = 0) -> str:
    """Give a picture like no other, in base64."""
    return base64.b64encode(PNG + next(_COUNT).to_bytes(8) + bytes(size)).decode()


async def another(request: web.Request) -> web.Response:
    """Reply with as many other pictures as are asked for."""
    n = orjson.loads(await request.read()).get("n") or 1
    data = [{"b64_json": picture(), "seed": next(_COUNT)} for _ in range(n)]
    return json_reply({"created": next(_COUNT), "data": data, "usage": {"total_tokens": n}})


async def statuses(ours: Gateway, *asks: dict[str, str]) -> list[str]:
    return [status(await ours.draw(**ask)) for ask in asks]


def status(got: Answered) -> str:
    return str(got.headers["x-portkey-cache-status"])


def texts(got: Answered) -> list[str]:
    """Give the base64 of each picture, of an answer in JSON or in events."""
    if got.headers["content-type"].startswith("text/event-stream"):
        found = EventParser()
        told = [event.json() for event in (*found.feed(got.body), *found.flush())]
        return [it["b64_json"] for it in told if it["type"] == COMPLETED]
    return [entry["b64_json"] for entry in got.json["data"]]
