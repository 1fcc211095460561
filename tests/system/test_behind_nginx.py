"""Behind a real nginx, on its defaults, that gives up before the picture is made.

It is Debian's: `apt-get install nginx-light`. Where it is missing these tests are skipped, and fail
in CI.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.support.gateway import (
    ANSWER,
    B64,
    KEY,
    OURS,
    PATH,
    Gateway,
    Provider,
    Reply,
    gateway_to,
    json_reply,
)
from tests.support.nginx import nginx

MAKING_SECONDS = 3
KEPT = {"virtual_key": "up", "x_easel_keepalive": "1"}


async def slow(request: web.Request) -> web.Response:
    """Take longer than nginx has patience."""
    del request
    await asyncio.sleep(MAKING_SECONDS)
    return json_reply(ANSWER)


@asynccontextmanager
async def behind_nginx(folder: Path, reply: Reply) -> AsyncIterator[tuple[Gateway, Provider]]:
    """Run a provider, a gateway, and nginx before it; the gateway's URL is nginx's."""
    async with gateway_to(reply) as (ours, fake):
        with nginx(folder, ours.url) as ours.url:
            yield ours, fake


async def test_without_keepalive_nginx_gives_up_and_the_retry_collects(tmp_path: Path) -> None:
    seen: list[int] = []

    async def see(response: Any) -> None:
        seen.append(response.status_code)

    options: dict[str, Any] = {"default_headers": {"x-portkey-virtual-key": "up"}, "api_key": KEY}
    async with (
        behind_nginx(tmp_path, slow) as (ours, fake),
        DefaultAsyncHttpxClient(event_hooks={"response": [see]}, trust_env=False) as http,
        AsyncOpenAI(base_url=f"{ours.url}/v1", http_client=http, **options) as client,
    ):
        answer = await client.images.generate(prompt="a cube", timeout=10)
        assert seen == [504, 200]
        assert answer.data
        assert (answer.data[0].b64_json, len(fake.requests)) == (B64, 1)


async def test_with_keepalive_nginx_does_not_give_up(tmp_path: Path) -> None:
    async with behind_nginx(tmp_path, slow) as (ours, fake):
        drawn, told = await asyncio.gather(
            ours.draw("a", **KEPT), ours.draw("b", params={"stream": True}, **KEPT)
        )
        assert (drawn.status, drawn.json) == (200, ANSWER)
        assert (told.status, told.body.count(b"event: image_generation.completed")) == (200, 1)
        assert len(fake.requests) == 2


async def test_nginx_lets_the_whitespace_through_while_the_picture_is_made(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def reply(request: web.Request) -> web.Response:
        del request
        await heard.wait()
        return json_reply(ANSWER)

    async with behind_nginx(tmp_path, reply) as (ours, _), asyncio.timeout(10):
        named = {**OURS, "x-portkey-virtual-key": "up", "x-easel-keepalive": "1"}
        asked = {"prompt": "a cube"}
        async with ours.session.post(ours.url + PATH, json=asked, headers=named) as got:
            assert await got.content.readexactly(1) == b" "
            heard.set()
            assert await got.json() == ANSWER
