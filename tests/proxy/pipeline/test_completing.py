"""`strategy.complete`: the next target makes the missing images; no paid image is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.gateway import B64, PNG, Answered, Gateway, gateway, json_reply, provider

REFUSED = (403, {"name": "content_moderation", "errors": ["no"]})
BROKEN = (500, {"name": "internal_error", "errors": ["no"]})


class LimitedProviders:
    """Providers `/0/…`, `/1/…` that make one image a call, each for its first `makes` calls."""

    def __init__(self, *makes: int, failing: tuple[int, Any] = BROKEN) -> None:
        self.left = list(makes)
        self.failing = failing
        self.asked = [0] * len(makes)

    async def reply(self, request: web.Request) -> web.Response:
        number = int(request.path.split("/")[1])
        self.asked[number] += 1
        if self.left[number] <= 0:
            status, body = self.failing
            return json_reply(body, status)
        self.left[number] -= 1
        return web.Response(body=PNG, content_type="image/png", headers={"seed": str(number)})


@asynccontextmanager
async def gateway_over(made: LimitedProviders, more: str = "") -> AsyncIterator[Gateway]:
    async with provider(made.reply) as fake:
        keys = {
            f"v{number}": {"provider": "stability-ai", "api_key": "k" * 20, "custom_host": host}
            for number in range(len(made.left))
            if (host := f"{fake.url}/{number}")
        }
        async with gateway(more + f"virtual_keys: {orjson.dumps(keys).decode()}") as ours:
            yield ours


async def draw(ours: Gateway, made: LimitedProviders, n: int, **strategy: Any) -> Answered:
    config = {
        "strategy": {"mode": "fallback", "complete": True, **strategy},
        "targets": [{"virtual_key": f"v{number}"} for number in range(len(made.left))],
    }
    params = {"model": "stable-image-core", "n": n}
    return await ours.draw(params=params, config=orjson.dumps(config).decode())


def makers(got: Answered) -> list[int]:
    return [entry["seed"] for entry in got.json["data"]]


async def test_the_next_target_makes_what_is_missing() -> None:
    made = LimitedProviders(1, 5)
    async with gateway_over(made) as ours:
        got = await draw(ours, made, 3)
        assert makers(got) == [0, 1, 1]
        assert made.asked == [3, 2]
        assert all(entry["b64_json"] == B64 for entry in got.json["data"])
        assert "failed" not in got.headers["x-easel-receipt"]


@pytest.mark.parametrize("failing", [BROKEN, REFUSED])
async def test_what_was_made_is_given_when_nobody_makes_the_rest(failing: tuple[int, Any]) -> None:
    made = LimitedProviders(1, 0, failing=failing)
    async with gateway_over(made) as ours:
        got = await draw(ours, made, 3)
        assert (got.status, makers(got)) == (200, [0])
        assert "failed images=2" in got.headers["x-easel-receipt"]


async def test_all_or_nothing_holds_for_all_targets_together() -> None:
    made = LimitedProviders(1, 1)
    async with gateway_over(made, "images: {incomplete: fail}\n") as ours:
        assert (await draw(ours, made, 3)).status == 502


async def test_without_the_strategys_word_there_is_no_second_target() -> None:
    made = LimitedProviders(1, 5)
    async with gateway_over(made) as ours:
        got = await draw(ours, made, 3, complete=False)
        assert (makers(got), made.asked) == ([0], [3, 0])


async def test_what_was_made_before_the_budget_ended_is_given() -> None:
    made = LimitedProviders(1, 5)
    async with gateway_over(made, "limits: {attempts: 3}\n") as ours:
        got = await draw(ours, made, 3)
        assert (got.status, makers(got)) == (200, [0])


@settings(max_examples=25, deadline=None)
@given(makes=st.lists(st.integers(0, 4), min_size=1, max_size=4), n=st.integers(1, 4))
async def test_every_picture_that_was_made_is_delivered_once(makes: list[int], n: int) -> None:
    made = LimitedProviders(*makes)
    async with gateway_over(made, "limits: {attempts: 100}\n") as ours:
        got = await draw(ours, made, n)
        paid = sum(makes) - sum(made.left)
        assert paid == min(n, sum(makes))
        assert got.status == (200 if paid else 502)
        if paid:
            assert len(got.json["data"]) == paid
            assert ("failed images" in got.headers["x-easel-receipt"]) is (paid < n)
