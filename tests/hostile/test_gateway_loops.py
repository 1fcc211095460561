"""Case 9: a custom host leads back to the gateway, which asks itself for ever."""

from __future__ import annotations

import asyncio

from aiohttp import web

from tests.support.gateway import KEY, gateway, gateway_to, json_reply, provider
from tests.support.raw_http import shout

UP = {"virtual_key": "up"}


async def test_a_gateway_that_is_its_own_provider_says_so_soon() -> None:
    async with provider() as between:
        stored = f"{{provider: openai, api_key: {KEY}, custom_host: '{between.url}/v1'}}"
        async with gateway(f"virtual_keys: {{up: {stored}}}\n") as ours:

            async def back(request: web.Request) -> web.Response:
                named = {it: request.headers[it] for it in ("via", "authorization")}
                got = await ours.ask(await request.read(), api_key="", **named, **UP)
                return json_reply(got.json, got.status)

            between.reply = back
            async with asyncio.timeout(10):
                got = await ours.draw(**UP)
            assert (got.status, "Request loop" in got.error["message"]) == (508, True)
            assert len(between.requests) == 5


async def test_a_chain_of_gateways_is_no_loop() -> None:
    async with gateway_to() as (last, fake):
        config = '{"provider":"openai","api_key":"k","custom_host":"%s/v1"}'
        async with gateway(TRUSTED_CUSTOM_HOSTS="127.0.0.1") as first:
            got = await first.draw(config=config.replace("%s", fake.url), via="1.1 nginx")
        assert (got.status, fake.requests[0].headers["via"]) == (200, "1.1 easel")
        assert (await last.draw(via="1.1 easel, 1.1 a", **UP)).status == 200
        assert fake.requests[1].headers["via"] == "1.1 easel, 1.1 easel"


async def test_lines_of_via_are_counted_together() -> None:
    async with gateway_to() as (ours, fake):
        lines = [b"x-portkey-virtual-key: up", *[b"VIA: HTTP/1.1 easel (v1), 1.0 easel"] * 3]
        assert ((await shout(ours, *lines)).status, fake.requests) == (508, [])
