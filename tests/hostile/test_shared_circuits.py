"""A caller brings about failures of its own, to have a target skipped for all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.support.gateway import ANSWER, OTHER_KEY, Gateway, gateway, json_reply, provider

BREAKER = {
    "failure_threshold": 1,
    "cooldown_interval": 86_400_000,
    "failure_status_codes": [400, 401, 404, 408, 422, 500, 502],
}


class _Providers:
    """Two providers; the first answers slowly, refuses a key and knows one model, as is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def reply(self, request: web.Request) -> web.StreamResponse:
        which = request.path.split("/")[1]
        self.asked.append(which)
        body = await request.json()
        if which == "first":
            if body["prompt"] == "slow":
                await asyncio.Event().wait()
            if request.headers.get("x-key") == "bad" or "bad" in request.headers["authorization"]:
                return json_reply({"error": {"message": "no", "type": "x"}}, 401)
            if body.get("model") == "no-such-model":
                return json_reply({"error": {"message": "no", "type": "x"}}, 404)
            if "x-break" in request.headers:
                return json_reply({"error": {"message": "no", "type": "x"}}, 500)
        return json_reply(ANSWER)


@asynccontextmanager
async def two_targets() -> AsyncIterator[tuple[Gateway, _Providers]]:
    providers = _Providers()
    async with provider(providers.reply) as fake:
        keys = {
            name: {"provider": "openai", "api_key": f"key-{name}", "custom_host": fake.url + path}
            for name, path in (("first", "/first/v1"), ("second", "/second/v1"))
        }
        strategy = {"mode": "fallback", "cb_config": BREAKER}
        targets: list[dict[str, Any]] = [{"virtual_key": "first"}, {"virtual_key": "second"}]
        own: list[dict[str, Any]] = [
            {"provider": "openai", "custom_host": fake.url + "/first/v1"},
            {"virtual_key": "second"},
        ]
        own[0]["forward_headers"] = ["authorization"]
        settings = {
            "virtual_keys": keys,
            "configs": {
                "pc": {"strategy": strategy, "targets": targets},
                "own": {"strategy": strategy, "targets": own},
            },
        }
        async with gateway(_yaml(settings)) as ours:
            yield ours, providers


def _yaml(settings: dict[str, Any]) -> str:
    """Return settings as YAML to append: JSON is YAML."""
    return "".join(f"{name}: {orjson.dumps(it).decode()}\n" for name, it in settings.items())


BREAKS = {"forward_headers": "x-break", "x_break": "1"}
BROUGHT_ABOUT: dict[str, dict[str, Any]] = {
    "a model": {"params": {"model": "no-such-model"}},
    "a header": BREAKS,
    "a credential": {"forward_headers": "x-key", "x_key": "bad"},
}


@pytest.mark.parametrize("way", BROUGHT_ABOUT)
async def test_what_one_caller_brings_about_skips_no_target_for_others(way: str) -> None:
    async with two_targets() as (ours, providers):
        for _ in range(4):
            assert (await ours.draw(config="pc", **BROUGHT_ABOUT[way])).status == 200
        # It is skipped for the caller itself.
        assert providers.asked == ["first", "second"] * 2 + ["second"] * 2
        providers.asked.clear()
        assert (await ours.draw(config="pc", api_key=OTHER_KEY)).status == 200
        assert providers.asked == ["first"]


async def test_nor_does_a_callers_own_timeout() -> None:
    async with two_targets() as (ours, providers):
        for _ in range(4):
            await ours.draw("slow", config="pc", request_timeout="1")
        providers.asked.clear()
        assert (await ours.draw(config="pc", api_key=OTHER_KEY)).status == 200
        assert providers.asked == ["first"]


async def test_nor_does_a_callers_own_key_where_the_config_leaves_it_to_callers() -> None:
    async with two_targets() as (ours, providers):
        bad, good = ({"authorization": f"Bearer {it}"} for it in ("bad", "good"))
        for _ in range(4):
            assert (await ours.draw(config="own", **bad)).status == 200
        providers.asked.clear()
        assert (await ours.draw(config="own", api_key=OTHER_KEY, **good)).status == 200
        assert providers.asked == ["first"]


async def test_nor_does_the_same_inline_config() -> None:
    async with two_targets() as (ours, providers):
        strategy = {"mode": "fallback", "cb_config": BREAKER}
        targets = [{"virtual_key": "first"}, {"virtual_key": "second"}]
        inline = orjson.dumps({"strategy": strategy, "targets": targets}).decode()
        for _ in range(4):
            assert (await ours.draw(config=inline, **BREAKS)).status == 200
        providers.asked.clear()
        assert (await ours.draw(config=inline, api_key=OTHER_KEY)).status == 200
        assert providers.asked == ["first"]


async def test_a_callers_own_circuits_are_shown_to_nobody_else() -> None:
    async with two_targets() as (ours, _):
        strategy = {"mode": "fallback", "cb_config": BREAKER}
        secret = {"provider": "openai", "api_key": "bad", "custom_host": "https://203.0.113.1/v1"}
        targets = [{"virtual_key": "first"}, {"virtual_key": "second"}, secret]
        inline = orjson.dumps({"strategy": strategy, "targets": targets}).decode()
        for config in (inline, "pc"):
            for _ in range(2):
                assert (await ours.draw(config=config, **BREAKS)).status == 200
        shown = await ours.ask(method="GET", path="/readyz?verbose", api_key=OTHER_KEY)
        assert shown.json["circuits"] == {}
        own = (await ours.ask(method="GET", path="/readyz?verbose")).json["circuits"]
        inline_name, saved_name = own
        assert saved_name == "saved:pc:config.targets[0]@test"
        kind, digest, path = inline_name.split(":")
        assert (kind, len(digest), path) == ("inline", 12, "config.targets[0]")
