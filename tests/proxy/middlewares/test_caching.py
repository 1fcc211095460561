"""The cache on the wire: MISS, HIT, REFRESH, DISABLED, and who never shares with whom."""

from __future__ import annotations

import itertools

from aiohttp import web

from tests.proxy.gateway import B64, OTHER_KEY, Gateway, always, gateway_to, json_reply

CACHED = "configs:\n  pc: {virtual_key: up, cache: {mode: simple}}\n"
_COUNT = itertools.count()


async def another(request: web.Request) -> web.Response:
    """Reply with another body each time."""
    del request
    return json_reply({"created": next(_COUNT), "data": [{"b64_json": B64}]})


async def statuses(ours: Gateway, *asks: dict[str, str]) -> list[str]:
    return [(await ours.draw(**ask)).headers["x-portkey-cache-status"] for ask in asks]


PC = {"config": "pc"}


async def test_the_same_again_is_a_hit_with_the_same_bytes() -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        first, second = await ours.draw(**PC), await ours.draw(**PC)
        assert first.headers["x-portkey-cache-status"] == "MISS"
        assert second.headers["x-portkey-cache-status"] == "HIT"
        assert (first.body, len(fake.requests)) == (second.body, 1)
        assert second.headers["x-portkey-provider"] == "openai"


async def test_without_a_config_nothing_is_looked_up() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        assert await statuses(ours, PC, {"virtual_key": "up"}) == ["MISS", "DISABLED"]


async def test_force_refresh_asks_again_and_keeps_the_new_answer() -> None:
    refresh = {**PC, "cache_force_refresh": "True"}
    plain = {**PC, "cache_force_refresh": "false"}
    async with gateway_to(another, CACHED) as (ours, _):
        assert await statuses(ours, PC, refresh, plain) == ["MISS", "REFRESH", "HIT"]


async def test_namespace_and_metadata_tell_answers_apart() -> None:
    asks = (PC, {**PC, "cache_namespace": "b"}, {**PC, "metadata": '{"_user":"u"}'})
    async with gateway_to(another, CACHED) as (ours, _):
        assert await statuses(ours, *asks) == ["MISS"] * 3


async def test_callers_never_share() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        asks = (PC, {**PC, "api_key": OTHER_KEY})
        assert await statuses(ours, *asks, *asks) == ["MISS", "MISS", "HIT", "HIT"]


async def test_credentials_never_share() -> None:
    inline = '{"provider":"openai","api_key":"%s","cache":{"mode":"simple"}}'
    async with gateway_to(another, TRUSTED_CUSTOM_HOSTS="127.0.0.1") as (ours, fake):
        host = {"custom_host": fake.url + "/v1"}
        asks = ({"config": inline % "k1", **host}, {"config": inline % "k2", **host})
        assert await statuses(ours, *asks, *asks) == ["MISS", "MISS", "HIT", "HIT"]


async def test_a_failure_is_never_kept() -> None:
    async with gateway_to(always({"error": {"message": "m", "type": "t"}}, 500), CACHED) as (
        ours,
        fake,
    ):
        assert await statuses(ours, PC, PC) == ["MISS", "MISS"]
        assert len(fake.requests) == 2


async def test_events_are_not_kept() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        got = await ours.draw(params={"stream": True}, **PC)
        assert got.headers["x-portkey-cache-status"] == "DISABLED"


async def test_a_large_relayed_answer_is_kept_too() -> None:
    body = {"created": 1, "data": [{"b64_json": "A" * 200_000}]}
    async with gateway_to(always(body), CACHED) as (ours, fake):
        first, second = await ours.draw(**PC), await ours.draw(**PC)
        assert second.headers["x-portkey-cache-status"] == "HIT"
        assert (first.body, len(fake.requests)) == (second.body, 1)
