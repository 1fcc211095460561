"""Case 3: a provider, a poll or a picture's host sends us, and our key, somewhere else."""

from __future__ import annotations

import pytest
from aiohttp import web

from proxy.upstream import connector
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


FORBIDDEN = (
    *(
        "http://169.254.169.254/latest",
        "http://[::1]:1/",
        "http://0.0.0.0:1/",
        "file:///etc/passwd",
    ),
    *(
        "http://2130706433/",
        "gopher://a/",
        "data:image/png;base64,AAAA",
        "javascript:1",
    ),
)


async def test_a_redirected_picture_is_sought_at_no_other_private_address() -> None:
    async with provider() as thief, pictures(to(thief.url, 302)) as (ours, _):
        got = await picture_drawn(ours)
        assert (got.status, got.error["code"]) == (502, "foreign_url")
        assert thief.url not in got.error["message"]
        assert not thief.requests


@pytest.mark.parametrize("place", FORBIDDEN)
async def test_a_redirect_of_a_picture_leads_to_no_forbidden_place(place: str) -> None:
    async def away(request: web.Request) -> web.Response:
        del request
        return web.Response(status=302, headers={"location": place})

    async with pictures(away) as (ours, fake):
        got = await picture_drawn(ours)
        assert got.status == 502
        assert got.error["code"] in {"foreign_url", "invalid_url", "provider_unreachable"}
        assert len(fake.requests) == 2


async def test_a_redirect_does_not_lead_back_to_a_private_origin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Every address counts as public, so that another host can be reached here at all.
    monkeypatch.setattr(connector, "is_allowed_address", lambda *_, **__: True)
    homes = list[str]()

    async def back(request: web.Request) -> web.Response:
        del request
        return web.Response(status=302, headers={"location": f"{homes[0]}/internal"})

    async with provider(back) as thief, pictures(to(thief.url, 302)) as (ours, fake):
        homes.append(fake.url)
        assert (await picture_drawn(ours)).error["code"] == "foreign_url"
        assert len(thief.requests) == 1
        assert [it.path for it in fake.requests if it.method == "GET"] == ["/0.png"]


async def test_a_redirect_without_end_ends() -> None:
    async def again(request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"location": request.raw_path + "x"})

    async with pictures(again) as (ours, fake):
        assert (await picture_drawn(ours)).error["code"] == "picture_lost"
        assert len(fake.requests) == 1 + 6
        assert {it.headers.get("authorization") for it in fake.requests[1:]} == {None}
