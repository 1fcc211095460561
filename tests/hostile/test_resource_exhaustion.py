"""Clients that order and never read: what they hold is bounded, and no other's is taken."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from proxy.context import BODY_MEMORY, IN_FLIGHT
from tests.support.gateway import OTHER_KEY, gateway_to
from tests.support.holding_provider import held
from tests.support.waiting import until

UP = {"virtual_key": "up"}
AGAIN = {"x_stainless_retry_count": "1"}
ASYNC = {"prefer": "respond-async"}


async def test_one_key_cannot_take_all_the_room() -> None:
    async with held("{jobs: 4, caller_jobs: 2}") as (ours, _):
        for number in range(2):
            assert (await ours.draw(f"{number}", **UP, **ASYNC)).status == 202
        got = await ours.draw("one more", **UP, **ASYNC)
        assert (got.status, got.error["code"], got.error["type"]) == (
            *(503, "overloaded", "server_error"),
        )
        assert int(got.headers["retry-after"]) > 0
        assert got.headers["x-should-retry"] == "true"
        other = {**UP, **ASYNC, "api_key": OTHER_KEY}
        assert (await ours.draw("another's", **other)).status == 202


async def test_a_job_counts_until_it_ends_whether_or_not_its_client_stays() -> None:
    async with held("{jobs: 1}") as (ours, holding):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ours.draw(**UP), 0.1)
        assert (await ours.draw("another", **UP)).status == 503
        holding.go.set()
        assert (await ours.draw(**UP, **AGAIN)).status == 200
        assert (await ours.draw("another", **UP)).status == 200


async def test_to_join_a_running_job_takes_no_room() -> None:
    async with held("{jobs: 1}") as (ours, holding):
        asking = [asyncio.create_task(ours.draw(**UP, **AGAIN)) for _ in range(5)]
        await until(lambda: len(ours.app[IN_FLIGHT]) == 5)
        holding.go.set()
        assert [got.status for got in await asyncio.gather(*asking)] == [200] * 5


@pytest.mark.parametrize(
    ("param", "value", "told"),
    [("n", 11, "11"), ("n", 1e300, "1e+300"), ("prompt", "x" * 101, "101")],
)
async def test_what_would_be_paid_for_is_bounded(param: str, value: object, told: str) -> None:
    async with gateway_to(more="limits: {prompt_characters: 100}") as (ours, fake):
        got = await ours.draw(params={param: value}, **UP)
        assert (got.status, got.error["code"], got.error["param"]) == (400, "invalid_value", param)
        assert told in got.error["message"]
        assert not fake.requests


SPELLINGS: tuple[tuple[str, object], ...] = (
    *(("n", "50"), ("n", " 50 "), ("n", [50]), ("n", {"value": 50}), ("n", True), ("n", 1.5)),
    *(("partial_images", "50"), ("partial_images", [1]), ("partial_images", False)),
    *(("stream", "true"), ("stream", 1), ("stream", [True]), ("stream", "")),
)


@pytest.mark.parametrize(("param", "value"), SPELLINGS)
async def test_no_spelling_of_a_number_passes_the_limits(param: str, value: object) -> None:
    config = orjson.dumps({**UP, "override_params": {param: value}}).decode()
    default = orjson.dumps({**UP, "default_params": {param: value}}).decode()
    params = {param: value}
    async with gateway_to() as (ours, fake):
        refused = [
            await ours.draw(params=params, **UP),
            await ours.draw(params=params, x_easel_dry_run="true", **UP),
            await ours.draw(params=params, x_easel_unsupported="pass", **UP),
            await ours.draw(config=config),
            await ours.draw(config=default),
        ]
        for got in refused:
            expected = 400, "invalid_type", param
            assert (got.status, got.error["code"], got.error["param"]) == expected
        assert not fake.requests


async def test_null_and_whole_numbers_pass() -> None:
    async with gateway_to() as (ours, fake):
        for n in (None, 1, 1.0):
            got = await ours.draw(params={"n": n, "stream": None, "partial_images": n}, **UP)
            assert got.status == 200
            assert fake.sent["n"] == n


async def test_a_config_cannot_ask_for_more_than_a_client() -> None:
    config = '{"virtual_key": "up", "override_params": {"n": 1000}}'
    async with gateway_to() as (ours, fake):
        got = await ours.draw(config=config)
        assert (got.status, got.error["param"]) == (400, "n")
        assert not fake.requests


BODY = b'{"prompt": "x", "image": "' + b"A" * 300_000 + b'"}'


async def test_large_bodies_have_a_bound_together_and_small_ones_pass() -> None:
    async with held("{bodies_bytes: 500000}") as (ours, holding):
        one = asyncio.create_task(ours.ask(BODY, **UP))
        await until(lambda: ours.app[BODY_MEMORY].reserved)
        async with asyncio.timeout(10):
            got = await ours.ask(BODY, **UP)
        assert (got.status, got.error["code"]) == (503, "overloaded")
        assert (await ours.draw("small", **UP, **ASYNC)).status == 202
        holding.go.set()
        assert (await one).status == 200
        assert (await ours.ask(BODY, **UP)).status == 200


@pytest.mark.parametrize("asked", [UP, {"virtual_key": "none"}, {**UP, "x_easel_dry_run": "true"}])
async def test_a_connection_that_idles_holds_no_body(asked: dict[str, str]) -> None:
    async with held("{}") as (ours, holding):
        holding.go.set()
        got = await ours.ask(BODY, **asked)
        assert got.headers["connection"] == "close"
        await until(lambda: ours.app[BODY_MEMORY].reserved == 0)
