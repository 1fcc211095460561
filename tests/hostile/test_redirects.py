"""Case 3: a provider, a poll or a picture's host sends us, and our key, somewhere else."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.support.gateway import Reply, gateway_to, provider
from tests.support.image_urls import drawn as picture_drawn
from tests.support.image_urls import pictures
from tests.support.polling_provider import drawn, polled

REDIRECTS = (301, 302, 303, 307, 308)


def to(url: str, status: int) -> Reply:
    async def reply(request: web.Request) -> web.Response:
        del request
        return web.Response(status=status, headers={"location": f"{url}/stolen"})

    return reply


@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirected_order_takes_no_key_anywhere(status: int) -> None:
    async with provider() as thief, gateway_to(to(thief.url, status)) as (ours, fake):
        # A short request goes another way out than a long one.
        for user in ("u", "u" * 60_000):
            got = await ours.draw(params={"user": user}, virtual_key="up")
            assert (got.status, got.error["code"]) == (502, "redirected")
            assert "location" not in got.headers
        assert (len(fake.requests), thief.requests) == (2, [])


async def test_a_redirected_poll_takes_no_key_anywhere() -> None:
    async with provider() as thief, polled() as (ours, polls):
        polls.polls = [web.Response(status=302, headers={"location": thief.url})]
        assert (await drawn(ours)).error["code"] == "redirected"
        assert not thief.requests


async def test_a_redirected_picture_is_lost() -> None:
    async with provider() as thief, pictures(to(thief.url, 302)) as (ours, _):
        assert (await picture_drawn(ours)).error["code"] == "picture_lost"
        assert not thief.requests
