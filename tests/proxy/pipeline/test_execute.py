"""Plans executed over real sockets: fallbacks, load balancing, circuits, budgets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.gateway import (
    ANSWER,
    KEY,
    Gateway,
    always,
    gateway,
    gateway_to,
    json_reply,
    provider,
)
from tests.support.waiting import forever, until

CUT = 0
"""Stands for a response that starts with status 200 and is cut off."""


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    response.content_length = 1_000_000
    await response.prepare(request)
    await response.write(b'{"data":[{"b64_json":"' + b"x" * 200_000)
    assert request.transport
    request.transport.abort()
    return response


class NumberedProviders:
    """Providers `/0/…`, `/1/…` on one server, each with its own status."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = statuses
        self.asked: list[int] = []

    async def reply(self, request: web.Request) -> web.StreamResponse:
        number = int(request.path.split("/")[1])
        self.asked.append(number)
        status = self.statuses[number]
        if status == CUT:
            return await cut(request)
        if status == LOST:
            assert request.transport
            request.transport.abort()
        if status == 200:
            return json_reply({**ANSWER, "from": number})
        return json_reply({"error": {"message": f"no {number}", "type": "t", "code": "c"}}, status)


def leaf(number: int, **more: Any) -> dict[str, Any]:
    return {"virtual_key": f"v{number}", **more}


@asynccontextmanager
async def gateway_with_config(crowd: NumberedProviders, config: Any) -> AsyncIterator[Gateway]:
    """Run a gateway whose config `pc` names these providers."""
    async with provider(crowd.reply) as fake:
        keys = {
            f"v{i}": {"provider": "openai", "api_key": "k", "custom_host": f"{fake.url}/{i}/v1"}
            for i in range(len(crowd.statuses))
        }
        async with gateway(_yaml(keys, config)) as ours:
            yield ours


def _yaml(keys: Any, config: Any) -> str:
    """Return the settings, as JSON, which is also YAML."""
    sections = {"virtual_keys": keys, "configs": {"pc": config}}
    return "".join(f"{name}: {orjson.dumps(it).decode()}\n" for name, it in sections.items())


def fallback(*targets: Any, **strategy: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "fallback", **strategy}, "targets": list(targets)}


INDEX = "x-portkey-last-used-option-index"


async def test_a_fallback_goes_on_to_the_first_that_answers() -> None:
    crowd = NumberedProviders(500, 429, 200)
    async with gateway_with_config(crowd, fallback(leaf(0), leaf(1), leaf(2))) as ours:
        got = await ours.draw(config="pc")
        assert (got.status, got.json["from"], crowd.asked) == (200, 2, [0, 1, 2])
        assert got.headers[INDEX] == "config.targets[2]"


async def test_a_fallback_with_codes_stops_at_any_other() -> None:
    crowd = NumberedProviders(429, 500, 200)
    async with gateway_with_config(
        crowd, fallback(leaf(0), leaf(1), leaf(2), on_status_codes=[429])
    ) as ours:
        got = await ours.draw(config="pc")
        assert (got.status, crowd.asked) == (500, [0, 1])
        assert got.headers[INDEX] == "config.targets[1]"


async def test_when_all_failed_each_is_told() -> None:
    crowd = NumberedProviders(500, 429)
    async with gateway_with_config(crowd, fallback(leaf(0), leaf(1))) as ours:
        got = await ours.draw(config="pc")
        assert (got.status, got.error["message"]) == (429, "no 1")
        told = [(it["index"], it["provider"], it["status"]) for it in got.json["attempts"]]
        assert told == [("config.targets[0]", "openai", 500), ("config.targets[1]", "openai", 429)]


async def test_one_failure_alone_is_told_once() -> None:
    async with gateway_with_config(NumberedProviders(500), fallback(leaf(0))) as ours:
        assert "attempts" not in (await ours.draw(config="pc")).json


STEER = "x-should-retry"
LOST = -1
"""Stands for a connection that is lost before the response starts."""


@pytest.mark.parametrize(
    ("statuses", "steer"),
    [
        ((LOST,), "false"),
        ((504,), "false"),
        ((LOST, 500), "false"),
        ((504, 429), "false"),
        ((500, LOST), "false"),
        ((500, 429), None),
        ((503,), None),
        ((400,), None),
    ],
)
async def test_an_sdk_is_kept_from_paying_twice_where_any_target_may_have_been_paid(
    statuses: tuple[int, ...], steer: str | None
) -> None:
    crowd = NumberedProviders(*statuses)
    targets = [leaf(number) for number in range(len(statuses))]
    async with gateway_with_config(crowd, fallback(*targets)) as ours:
        got = await ours.draw(config="pc")
        assert (got.headers.get(STEER), len(crowd.asked)) == (steer, len(statuses))


async def test_an_sdk_is_kept_from_paying_twice_where_an_earlier_try_may_have_been_paid() -> None:
    async def reply(request: web.Request) -> web.StreamResponse:
        if len(fake.requests) == 1:
            assert request.transport
            request.transport.abort()
        return json_reply({"error": {"message": "no"}}, 400, X_Should_Retry="true")

    config = '{"virtual_key": "up", "retry": {"attempts": 1, "on_status_codes": [502]}}'
    async with gateway_to(reply) as (ours, fake):
        got = await ours.draw(config=config)
        assert (got.status, got.headers.getall(STEER), len(fake.requests)) == (400, ["false"], 2)


async def test_a_request_timeout_that_ran_out_keeps_an_sdk_from_paying_twice() -> None:
    async def slow(request: web.Request) -> web.Response:
        del request
        await forever()
        return json_reply(ANSWER)

    async with gateway_to(slow) as (ours, _):
        got = await ours.draw(virtual_key="up", request_timeout="50")
        assert (got.status, got.headers[STEER]) == (408, "false")


NESTED = {
    "strategy": {"mode": "loadbalance"},
    "targets": [
        leaf(0, weight=0),
        {"weight": 1, **fallback(leaf(1), leaf(2), on_status_codes=[429])},
    ],
}


async def test_a_fallback_inside_a_load_balancer_names_its_place() -> None:
    crowd = NumberedProviders(200, 429, 200)
    async with gateway_with_config(crowd, NESTED) as ours:
        got = await ours.draw(config="pc")
        assert (got.status, crowd.asked) == (200, [1, 2])
        assert got.headers[INDEX] == "config.targets[1].targets[1]"


BY_PLAN = {
    "strategy": {
        "mode": "conditional",
        "conditions": [{"query": {"metadata.plan": {"$eq": "paid"}}, "then": "good"}],
        "default": "cheap",
    },
    "targets": [leaf(0, name="cheap"), leaf(1, name="good")],
}


async def test_a_condition_over_metadata_chooses() -> None:
    crowd = NumberedProviders(200, 200)
    async with gateway_with_config(crowd, BY_PLAN) as ours:
        await ours.draw(config="pc", metadata='{"plan": "paid"}')
        await ours.draw(config="pc")
        assert crowd.asked == [1, 0]


async def test_a_refused_parameter_falls_to_a_target_that_can() -> None:
    crowd = NumberedProviders(200)
    strict = {"provider": "stability-ai", "api_key": "k"}
    async with gateway_with_config(crowd, fallback(strict, leaf(0))) as ours:
        params = {"model": "stable-image-core", "style": "vivid"}
        got = await ours.draw(params=params, config="pc", x_easel_unsupported="strict")
        assert (got.status, got.headers[INDEX]) == (200, "config.targets[1]")


REFUSED = {"error": {"message": "no", "type": "x", "code": "moderation_blocked"}}


@pytest.mark.parametrize(("switch", "asked"), [("stop", 1), ("next", 2)])
async def test_a_refusal_falls_only_where_the_config_says_so(switch: str, asked: int) -> None:
    async with provider(always(REFUSED, 400)) as fake:
        one = {"provider": "openai", "api_key": "k", "custom_host": fake.url + "/v1"}
        config = {"pc": fallback(one, one, on_refusal=switch)}
        async with gateway(f"configs: {orjson.dumps(config).decode()}") as ours:
            got = await ours.draw(config="pc")
            assert (got.status, len(fake.requests)) == (400, asked)


async def test_nothing_falls_once_an_answer_has_begun() -> None:
    async with provider(cut) as fake:
        one = {"provider": "openai", "api_key": "k", "custom_host": fake.url + "/v1"}
        config = {"pc": fallback(one, one)}
        async with gateway(f"configs: {orjson.dumps(config).decode()}") as ours:
            with pytest.raises(aiohttp.ClientPayloadError):
                await ours.draw(config="pc")
            assert len(fake.requests) == 1


async def test_the_budget_of_attempts_ends_a_long_fallback() -> None:
    crowd = NumberedProviders(*[500] * 6)
    more = "limits: {attempts: 3}\n"
    async with provider(crowd.reply) as fake:
        keys = {
            f"v{i}": {"provider": "openai", "api_key": "k", "custom_host": f"{fake.url}/{i}/v1"}
            for i in range(6)
        }
        config = fallback(*(leaf(i) for i in range(6)))
        async with gateway(more + _yaml(keys, config)) as ours:
            assert (await ours.draw(config="pc")).status == 500
            assert crowd.asked == [0, 1, 2]


CB = {"failure_threshold": 1, "cooldown_interval": 30_000}


async def test_a_target_that_keeps_failing_is_left_out_and_seen_in_readyz() -> None:
    crowd = NumberedProviders(503, 200)
    async with gateway_with_config(crowd, fallback(leaf(0), leaf(1), cb_config=CB)) as ours:
        for _ in range(4):
            assert (await ours.draw(config="pc")).status == 200
        assert crowd.asked == [0, 1, 0, 1, 1, 1]
        seen = await ours.ask(method="GET", path="/readyz?verbose")
        assert seen.json["circuits"] == {"saved:pc:config.targets[0]": "open"}


async def test_an_api_keys_default_config_needs_no_header() -> None:
    crowd = NumberedProviders(200)
    async with provider(crowd.reply) as fake:
        keys = {"v0": {"provider": "openai", "api_key": "k", "custom_host": f"{fake.url}/0/v1"}}
        app = {"app": {"key": KEY, "config": "pc", "allow_config_override": False}}
        base = f"api_keys: {orjson.dumps(app).decode()}\n"
        async with gateway(_yaml(keys, leaf(0)), base) as ours:
            assert (await ours.draw()).status == 200
            got = await ours.draw(config="pc")
            assert (got.status, got.error["code"]) == (400, "invalid_config")


STATUSES: Any = st.sampled_from([200, 200, 400, 429, 500, 503, CUT])
LEAF: Any = st.fixed_dictionaries(
    {}, optional={"retry": st.fixed_dictionaries({"attempts": st.integers(0, 2)})}
)
BALANCED: Any = st.sampled_from([{"mode": "loadbalance"}, {"mode": "single"}])
ORDERED: Any = st.sampled_from(
    [{"mode": "fallback"}, {"mode": "fallback", "on_status_codes": [429, 500]}]
)


def _level(below: Any) -> Any:
    several = st.lists(below, min_size=1, max_size=3)
    return st.fixed_dictionaries({"strategy": BALANCED | ORDERED, "targets": several})


TREES: Any = st.recursive(LEAF, _level, max_leaves=6)


def number_leaves(
    tree: Any, counter: Any, index: str, places: dict[int, str], most: list[int]
) -> Any:
    """Return the tree with a provider for each leaf; add its path and its maximum of attempts."""
    if "targets" in tree:
        below = enumerate(tree["targets"])
        targets = [
            number_leaves(it, counter, f"{index}.targets[{i}]", places, most) for i, it in below
        ]
        return {**tree, "targets": targets}
    number = next(counter)
    places[number] = index
    most.append(1 + tree.get("retry", {}).get("attempts", 0))
    return {**tree, **leaf(number)}


def test_no_plan_is_exceeded_and_the_header_names_who_answered() -> None:
    with asyncio.Runner() as runner:
        crowd, stack = NumberedProviders(*[200] * 40), AsyncExitStack()
        ours = runner.run(stack.enter_async_context(gateway_with_config(crowd, leaf(0))))

        @settings(max_examples=80, deadline=None)
        @given(TREES, st.lists(STATUSES, min_size=40, max_size=40))
        def holds(tree: Any, statuses: list[int]) -> None:
            places: dict[int, str] = {}
            most: list[int] = []
            config = number_leaves(tree, itertools.count(), "config", places, most)
            crowd.statuses, crowd.asked = tuple(statuses), []
            try:
                got = runner.run(ours.draw(config=orjson.dumps(config).decode()))
            except aiohttp.ClientPayloadError:
                # It had begun: the one that began it was the last to be asked.
                assert statuses[crowd.asked[-1]] == CUT
                assert crowd.asked.count(crowd.asked[-1]) == 1
                return
            assert len(crowd.asked) <= sum(most)
            assert got.headers[INDEX] == places[crowd.asked[-1]]
            assert got.status == statuses[crowd.asked[-1]]
            if got.status == 200:
                assert got.json["from"] == crowd.asked[-1]
                assert crowd.asked.count(crowd.asked[-1]) == 1

        holds()
        runner.run(stack.aclose())


async def test_a_success_that_carries_an_error_falls_through() -> None:
    async def reply(request: web.Request) -> web.Response:
        if request.path.startswith("/0"):
            return json_reply({"error": {"message": "no", "type": "t"}})
        return json_reply(ANSWER)

    async with provider(reply) as fake:
        hosts = [f"{fake.url}/{i}/v1" for i in range(2)]
        targets = [{"provider": "openai", "api_key": "k", "custom_host": host} for host in hosts]
        config = {"pc": fallback(*targets)}
        async with gateway(f"configs: {orjson.dumps(config).decode()}") as ours:
            got = await ours.draw(config="pc")
            assert (got.status, got.headers[INDEX]) == (200, "config.targets[1]")


async def test_an_inline_config_of_32_kilobytes_is_read() -> None:
    crowd = NumberedProviders(200)
    async with gateway_with_config(crowd, leaf(0)) as ours:
        for length, status in ((32_600, 200), (33_000, 400)):
            large = {"virtual_key": "v0", "override_params": {"note": "x" * length}}
            assert (await ours.draw(config=orjson.dumps(large).decode())).status == status


async def test_nobody_reachable_is_told_for_each_target() -> None:
    nobody = {"provider": "openai", "api_key": "k", "custom_host": "http://127.0.0.1:1/v1"}
    config = {"pc": fallback(nobody, nobody)}
    async with gateway(f"configs: {orjson.dumps(config).decode()}") as ours:
        got = await ours.draw(config="pc")
        assert [it["code"] for it in got.json["attempts"]] == ["provider_unreachable"] * 2


async def test_an_answer_that_is_cut_counts_against_its_target() -> None:
    crowd = NumberedProviders(CUT, 200)
    async with gateway_with_config(crowd, fallback(leaf(0), leaf(1), cb_config=CB)) as ours:
        for _ in range(2):
            with pytest.raises(aiohttp.ClientPayloadError):
                await ours.draw(config="pc")
        assert (await ours.draw(config="pc")).status == 200
        assert crowd.asked == [0, 0, 1]


async def test_a_cache_hit_says_nothing_for_its_target() -> None:
    crowd = NumberedProviders(200, 200)
    half = {"failure_threshold_percentage": 50, "minimum_requests": 2}
    config = {**fallback(leaf(0), leaf(1), cb_config=half), "cache": {"mode": "simple"}}
    async with gateway_with_config(crowd, config) as ours:
        for _ in range(6):
            await ours.draw("the same", config="pc")
        crowd.statuses = (503, 200)
        for i in range(3):
            await ours.draw(f"new {i}", config="pc")
        assert crowd.asked == [0, 0, 1, 0, 1, 1]


async def test_a_fallback_goes_on_when_the_client_has_left() -> None:
    begun, end, asked = asyncio.Event(), asyncio.Event(), []

    async def reply(request: web.Request) -> web.Response:
        asked.append(request.path)
        begun.set()
        await end.wait()
        return json_reply({}, 500)

    async with provider(reply) as fake:
        one = {"provider": "openai", "api_key": "k", "custom_host": fake.url + "/v1"}
        config = {"pc": fallback(one, one)}
        async with gateway(f"configs: {orjson.dumps(config).decode()}") as ours:
            drawing = asyncio.create_task(ours.draw(config="pc"))
            await begun.wait()
            drawing.cancel()
            await asyncio.wait([drawing])
            end.set()
            await until(lambda: (len(asked), bool(ours.log.getvalue())) == (2, True))


async def test_no_more_than_the_last_hundred_failures_are_told() -> None:
    strict = {"provider": "stability-ai", "api_key": "k"}
    config = fallback(fallback(*[strict] * 60), fallback(*[strict] * 60))
    async with gateway_with_config(NumberedProviders(), config) as ours:
        params = {"model": "stable-image-core", "style": "vivid"}
        got = await ours.draw(params=params, config="pc", x_easel_unsupported="strict")
        assert (got.status, len(got.json["attempts"])) == (400, 100)
