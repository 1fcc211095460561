"""Responses cached in memory are sent without a job, and only while they are valid."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.cache.store import CACHE
from proxy.jobs.keys import JOBS
from proxy.observability.access_log import ACCESS_LOG
from proxy.reload.live_settings import LIVE_SETTINGS
from proxy.routing.resolver import Resolver
from tests.support.cached_requests import CACHED, PC, POOL, SHARED, another, status, texts
from tests.support.gateway import OTHER_KEY, Answered, Gateway, gateway_to


async def fill_cache(ours: Gateway, **ask: Any) -> tuple[Answered, Answered]:
    """Request three times: generated, read from the store, sent from memory."""
    made, read, ready = [await ours.draw(**ask) for _ in range(3)]
    assert [status(it) for it in (made, read, ready)] == ["MISS", "HIT", "HIT"]
    return read, ready


@pytest.mark.parametrize("ask", [PC, POOL, SHARED], ids=str)
async def test_what_is_ready_is_the_answer_that_was_read_and_takes_no_job(
    ask: dict[str, str],
) -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        read, ready = await fill_cache(ours, **ask)
        assert ready.body == read.body
        changing = {"x-portkey-trace-id", "date"}
        told = [
            {name.lower(): it for name, it in got.headers.items() if name.lower() not in changing}
            for got in (read, ready)
        ]
        assert told[0] == told[1]
        assert (len(fake.requests), len(ours.app[JOBS])) == (1, 2)
        # It names the job that wrote it, which has the same answer as long as it is stored.
        assert ready.headers["x-easel-job"] == read.headers["x-easel-job"]
        place = f"/v1/images/jobs/{ready.headers['x-easel-job']}"
        assert (await ours.ask(method="GET", path=place)).body == ready.body


async def test_the_access_line_of_what_is_ready_says_as_much_as_that_of_a_hit() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        await fill_cache(ours, **PC)
        ours.app[ACCESS_LOG].flush()
        _, read, ready = map(orjson.loads, ours.log.getvalue().splitlines())
        changing = ("time", "ms", "first_byte_ms", "tried", "trace", "job")
        assert {**read, **dict.fromkeys(changing)} == {**ready, **dict.fromkeys(changing)}
        assert ready["job"] == ""


@pytest.mark.parametrize(
    "ask",
    [
        {"params": {"response_format": "url"}},
        {"params": {"stream": True}},
        {"params": {"prompt": "another"}},
        {"namespace": "other"},
        {"metadata": '{"a": "b"}'},
    ],
    ids=str,
)
async def test_what_differs_in_anything_is_no_matter_of_memory(ask: dict[str, Any]) -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        await fill_cache(ours, **PC)
        jobs = len(ours.app[JOBS])
        namespace = {"cache_namespace": ask.pop("namespace")} if "namespace" in ask else {}
        await ours.draw(**PC, **ask, **namespace)
        assert len(ours.app[JOBS]) == jobs + 1


@pytest.mark.parametrize(
    "headers",
    [{"idempotency-key": "k"}, {"prefer": "respond-async"}, {"x-portkey-debug": "false"}],
    ids=str,
)
async def test_whoever_means_a_job_gets_one(headers: dict[str, str]) -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        await fill_cache(ours, **PC)
        jobs = len(ours.app[JOBS])
        await ours.draw(**PC, **headers)
        assert len(ours.app[JOBS]) == jobs + 1


async def test_another_caller_gets_nothing_of_it() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        _, ready = await fill_cache(ours, **PC)
        got = await ours.draw(api_key=OTHER_KEY, **PC)
        assert status(got) == "MISS"
        assert texts(got) != texts(ready)


async def test_what_was_given_up_or_made_anew_is_not_ready_any_more() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        _, first = await fill_cache(ours, **PC)
        await ours.ask(method="DELETE", path="/v1/cache")
        _, second = await fill_cache(ours, **PC)
        await ours.draw(cache_force_refresh="true", **PC)
        third = await ours.draw(**PC)
        assert status(third) == "HIT"
        assert len({*texts(first), *texts(second), *texts(third)}) == 3


async def test_what_is_too_old_is_not_ready_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        await fill_cache(ours, **PC)
        index: Any = ours.app[CACHE].index
        later = index._clock() + 8 * 86_400
        monkeypatch.setattr(index, "_clock", lambda: later)
        assert status(await ours.draw(**PC)) == "MISS"


@pytest.mark.parametrize("more", ["cache: {ready_bytes: 0}\n", "cache: {ready_bytes: 8000}\n"])
async def test_without_room_every_hit_is_read(more: str) -> None:
    async with gateway_to(another, CACHED + more) as (ours, _):
        await fill_cache(ours, **PC)
        assert len(ours.app[JOBS]) == 3


async def test_a_request_that_repeats_one_byte_for_byte_is_not_routed_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        _, ready = await fill_cache(ours, **PC)
        monkeypatch.delattr(Resolver, "resolve")
        again = await ours.draw(**PC)
        assert (again.status, again.body, status(again)) == (200, ready.body, "HIT")
        assert (await ours.draw(**PC, metadata="{}")).status == 500


async def test_no_more_than_so_many_requests_are_known_again() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        await fill_cache(ours, **PC)
        repeats = ours.app[LIVE_SETTINGS].snapshot.response_digests
        assert len(repeats) == 1
        repeats.update({b"%d" % number: b"a" for number in range(4095)})
        await ours.draw(**PC, trace_id="of-its-own")
        assert len(repeats) == 1


async def test_what_is_repeated_still_needs_a_key_and_an_answer_that_is_good() -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        await fill_cache(ours, **PC)
        assert (await ours.draw(**PC, api_key="sk-of-nobodys-own")).status == 401
        assert (await ours.ask(method="DELETE", path="/v1/cache")).status == 200
        assert status(await ours.draw(**PC)) == "MISS"
        assert len(fake.requests) == 2
