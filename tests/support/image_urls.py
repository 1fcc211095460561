"""A provider that answers with image URLs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.gateway import (
    Answered,
    Gateway,
    Provider,
    Reply,
    gateway,
    json_reply,
    provider,
)

SECRET = "sk-stored-0123456789"
OWN = {"x_portkey_forward_headers": "x-tenant", "x_tenant": "t"}


@asynccontextmanager
async def pictures(
    at_url: Reply, count: int = 1, limit: int = 4096, more: str = ""
) -> AsyncIterator[tuple[Gateway, Provider]]:
    """Run a provider that answers with URLs on its own host, and a gateway in front of it."""
    async with provider() as fake:

        async def reply(request: web.Request) -> web.StreamResponse:
            if request.method == "GET":
                return await at_url(request)
            urls = [f"{fake.url}/{number}.png?sig=a%2Fb" for number in range(count)]
            return json_reply({"status": "succeeded", "output": urls})

        fake.reply = reply
        stored = f"{{provider: replicate, api_key: {SECRET}, custom_host: '{fake.url}'}}"
        limits = f"limits: {{image_bytes: {limit}}}\n"
        async with gateway(f"virtual_keys: {{up: {stored}}}\n{limits}{more}") as ours:
            yield ours, fake


async def drawn(ours: Gateway, **params: object) -> Answered:
    wanted = {"model": "a/b", "response_format": "b64_json", **params}
    return await ours.draw(params=wanted, virtual_key="up", **OWN)
