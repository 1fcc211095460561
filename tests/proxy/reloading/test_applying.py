"""Other settings take the place of those in force between two requests, and all at once."""

from __future__ import annotations

from aiohttp import web

from proxy.keys import RELOADING
from proxy.reloading.current import Current
from proxy.settings import Settings
from tests.proxy.gateway import ANSWER, gateway_to, json_reply


async def test_a_request_ends_with_the_settings_that_it_began_with() -> None:
    async def reply(request: web.Request) -> web.Response:
        del request
        ours.app[RELOADING].current = Current(Settings())
        return json_reply(ANSWER)

    async with gateway_to(reply) as (ours, _):
        assert (await ours.draw(virtual_key="up", params={"response_format": "url"})).status == 200
        assert (await ours.draw(virtual_key="up")).status == 401
