"""A provider that holds every image back until a test releases it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.gateway import ANSWER, Gateway, gateway_to, json_reply


class Holding:
    """A provider that answers once it is let."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def reply(self, request: web.Request) -> web.Response:
        del request
        await self.go.wait()
        return json_reply(ANSWER)


@asynccontextmanager
async def held(limits: str) -> AsyncIterator[tuple[Gateway, Holding]]:
    """Run a gateway with some limits, whose provider holds every image back."""
    holding = Holding()
    async with gateway_to(holding.reply, f"limits: {limits}") as (ours, _):
        yield ours, holding
        holding.go.set()
