"""Providers that are slow, or break off."""

from __future__ import annotations

import asyncio

import aiohttp
import orjson
import pytest
from aiohttp import web

from tests.support.gateway import (
    ANSWER,
    OURS,
    PATH,
    Gateway,
)


class HeldProvider:
    """A provider that answers once `release` is set."""

    def __init__(self, body: bytes = orjson.dumps(ANSWER)) -> None:
        self.body = body
        self.calls = 0
        self.release = asyncio.Event()

    async def reply(self, request: web.Request) -> web.Response:
        del request
        self.calls += 1
        await self.release.wait()
        return web.Response(body=self.body, content_type="application/json")


AGAIN = {"x_stainless_retry_count": "1"}


async def slow(request: web.Request) -> web.Response:
    del request
    await asyncio.sleep(0.2)
    return web.json_response(ANSWER)


async def left(ours: Gateway, seconds: float = 0.05, **headers: str) -> None:
    """Ask, and leave before the answer."""
    named = {**OURS, "x-portkey-virtual-key": "up", **headers}
    timeout = aiohttp.ClientTimeout(total=seconds)
    with pytest.raises(TimeoutError):
        await ours.session.post(
            ours.url + PATH, json={"prompt": "a cube"}, headers=named, timeout=timeout
        )
