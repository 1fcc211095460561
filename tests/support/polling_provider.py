"""A provider whose jobs are polled at a chosen URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.gateway import (
    PNG,
    Answered,
    Gateway,
    Provider,
    gateway,
    json_reply,
    provider,
)
from tests.support.raw_http import SECRET

POLLED = {"virtual_key": "polled"}
HELD = {"virtual_key": "held"}
FLUX = {"model": "flux-2-pro"}
SCHNELL = {"model": "black-forest-labs/flux-schnell"}
ELSEWHERE = (
    *("https://evil.example/get", "https://bfl.ai.evil.example/get", "https://evilbfl.ai/get"),
    *(
        "https://api.bfl.ai@evil.example/get",
        "https://evil.example/?api.bfl.ai",
        "http://api.bfl.ai/",
    ),
    *(
        "https://api.bfl.ai.:443/get",
        "https://evil.example#.bfl.ai",
    ),
)


@asynccontextmanager
async def polled(place: str = "{own}/get") -> AsyncIterator[tuple[Gateway, Polls]]:
    """Run a provider whose jobs are polled at `place`, and a gateway with its key."""
    polls = Polls(place)
    async with provider(polls.reply) as fake:
        polls.fake = fake
        stored = f"api_key: '{SECRET}', custom_host: '{fake.url}'"
        keys = (
            f"virtual_keys: {{polled: {{provider: black-forest-labs, {stored}}}, "
            f"held: {{provider: replicate, {stored}}}}}\n"
        )
        async with gateway(keys) as ours:
            yield ours, polls


class Polls:
    """A provider of jobs: `polls` are the replies to polls, then the job is done."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.result = "{own}/a.png"
        self.polls: list[web.Response] = []
        self.fake = Provider()

    async def reply(self, request: web.Request) -> web.StreamResponse:
        own = self.fake.url
        if request.method == "POST":
            place = self.place.replace("{own}", own)
            return json_reply(
                {"id": "1", "polling_url": place, "urls": {"get": place}, "status": "starting"}
            )
        if request.path == "/a.png":
            return web.Response(body=PNG)
        if self.polls:
            return self.polls.pop(0)
        result = self.result.replace("{own}", own)
        ready = "Ready" if "x-key" in request.headers else "succeeded"
        return json_reply({"status": ready, "result": {"sample": result}, "output": [result]})

    def asked(self, method: str = "GET", path: str = "/get") -> int:
        """Count what it was asked."""
        return sum((it.method, it.path) == (method, path) for it in self.fake.requests)


async def drawn(ours: Gateway, **params: str) -> Answered:
    return await ours.draw(params={**FLUX, **params}, **POLLED)
