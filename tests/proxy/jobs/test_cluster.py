"""Several nodes on real sockets: a retry finds its image, whichever of them it comes to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.jobs.keys import JOB_CLUSTER, JOBS
from proxy.state.memory import MemoryStore
from tests.support.gateway import (
    ANSWER,
    OTHER_KEY,
    OURS,
    PATH,
    Gateway,
    json_reply,
)
from tests.support.gateway_nodes import SlowProvider, ask_and_disconnect, nodes

VIRTUAL_KEY = {"virtual_key": "up"}
RETRY = {"x_stainless_retry_count": "1"}


async def ask(ours: Gateway, prompt: str = "a cube", **headers: str) -> Any:
    return await ours.ask({"prompt": prompt}, **VIRTUAL_KEY, **headers)


async def wait_until(claim: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while True:
            said = claim()
            if said if isinstance(said, bool) else await said:
                return
            await asyncio.sleep(0.02)


async def test_a_retry_on_another_node_joins_what_still_runs(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply) as (one, two):
        await ask_and_disconnect(one, slow.started)
        retry = asyncio.create_task(ask(two, **RETRY))
        await asyncio.sleep(0.05)  # Nothing announces that the other node waits.
        slow.release.set()
        got = await retry
        assert (got.status, got.json["created"], slow.calls) == (200, 1, 1)


async def test_a_retry_on_another_node_collects_a_stored_result(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply) as (one, two):
        await ask_and_disconnect(one, slow.started)
        slow.release.set()
        await wait_until(lambda: any(tmp_path.glob("results/*")))
        got = await ask(two, **RETRY)
        assert (got.status, got.json["created"], slow.calls) == (200, 1, 1)
        line = orjson.loads(two.log.getvalue().splitlines()[-1]) if two.log.getvalue() else {}
        assert line.get("joined", "elsewhere") == "elsewhere"


async def test_two_hundred_retries_on_any_node_pay_once_each(tmp_path: Path) -> None:
    async def quick(request: web.Request) -> web.Response:
        prompt = orjson.loads(await request.read())["prompt"]
        calls[prompt] = calls.get(prompt, 0) + 1
        await asyncio.sleep(0.3)
        return json_reply({"created": int(prompt), "data": [{"b64_json": "AAAA"}]})

    calls: dict[str, int] = {}
    chance = random.Random(8)  # noqa: S311 - the same in every run
    async with nodes(tmp_path, quick, count=4) as all_nodes:

        async def cut_and_asked_again(number: int) -> tuple[int, int]:
            node = chance.choice(all_nodes)
            named = {**OURS, "x-portkey-virtual-key": "up"}
            body, patience = {"prompt": str(number)}, aiohttp.ClientTimeout(total=0.25)
            with pytest.raises(TimeoutError):
                await node.session.post(node.url + PATH, json=body, headers=named, timeout=patience)
            await asyncio.sleep(chance.random() / 2)
            got = await ask(chance.choice(all_nodes), str(number), **RETRY)
            return got.status, got.json.get("created")

        wave = 40
        for start in range(0, 200, wave):
            numbers = range(start, start + wave)
            got = await asyncio.gather(*map(cut_and_asked_again, numbers))
            assert got == [(200, number) for number in numbers]
        assert calls == {str(number): 1 for number in range(200)}


async def test_a_key_of_the_clients_holds_on_every_node(tmp_path: Path) -> None:
    slow = SlowProvider()
    key = {"idempotency_key": "order-1"}
    async with nodes(tmp_path, slow.reply) as (one, two):
        first = asyncio.create_task(ask(one, **key))
        await slow.started.wait()
        second = asyncio.create_task(ask(two, **key))
        await asyncio.sleep(0.05)  # Nothing announces that the other node waits.
        slow.release.set()
        got = await first, await second
        assert [it.json["created"] for it in got] == [1, 1]
        other = await ask(two, "a sphere", **key)
        elsewhere = await ask(one, "a sphere", **key, api_key=OTHER_KEY)
        assert (other.status, other.error["code"]) == (422, "idempotency_key_reused")
        assert (elsewhere.status, slow.calls) == (200, 2)


async def test_a_key_that_two_nodes_see_at_once_is_one_job(tmp_path: Path) -> None:
    slow = SlowProvider()
    slow.release.set()
    async with nodes(tmp_path, slow.reply, count=4) as all_nodes:
        got = await asyncio.gather(
            *(ask(it, idempotency_key="k") for it in all_nodes for _ in "ab")
        )
        assert ([it.json["created"] for it in got], slow.calls) == ([1] * 8, 1)


async def test_equal_requests_at_once_are_made_once_where_the_cache_keeps_them(
    tmp_path: Path,
) -> None:
    slow = SlowProvider()
    config = orjson.dumps({"virtual_key": "up", "cache": {"mode": "simple"}}).decode()
    async with nodes(tmp_path, slow.reply) as (one, two):
        asked = [
            asyncio.create_task(it.ask({"prompt": "a cube"}, config=config)) for it in (one, two)
        ]
        await slow.started.wait()
        await asyncio.sleep(0.05)  # Nothing announces that the other node waits.
        slow.release.set()
        got = [await it for it in asked]
        assert ([it.json["created"] for it in got], slow.calls) == ([1, 1], 1)


async def test_fresh_requests_that_are_equal_are_two_images(tmp_path: Path) -> None:
    slow = SlowProvider()
    slow.release.set()
    async with nodes(tmp_path, slow.reply) as (one, two):
        got = [await ask(one), await ask(two)]
        assert [it.json["created"] for it in got] == [1, 2]


async def test_two_lost_clients_of_equal_requests_get_an_image_each(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply, count=3) as (one, two, three):
        await ask_and_disconnect(one, slow.started)
        slow.started.clear()
        await ask_and_disconnect(two, slow.started)
        slow.release.set()
        await wait_until(lambda: len(list(tmp_path.glob("results/*"))) == 2)
        got = [await ask(three, **RETRY)]
        # The first of them knows by now that its image has been taken.
        await wait_until(lambda: one.app[JOBS].all()[0].deliveries > 0)
        got.append(await ask(one, **RETRY))
        assert sorted(it.json["created"] for it in got) == [1, 2]
        assert slow.calls == 2


async def test_an_answer_that_was_delivered_can_be_had_elsewhere(tmp_path: Path) -> None:
    slow = SlowProvider()
    slow.release.set()
    async with nodes(tmp_path, slow.reply) as (one, two):
        first = await ask(one)
        again = await ask(two, **RETRY)
        assert (again.body, slow.calls) == (first.body, 1)


async def test_a_failure_is_told_to_those_who_wait_and_then_begun_anew(tmp_path: Path) -> None:
    may = asyncio.Event()
    begun = asyncio.Event()

    async def refusing(request: web.Request) -> web.Response:
        del request
        begun.set()
        await may.wait()
        return json_reply({"error": {"message": "No.", "code": "bad"}}, 400)

    async with nodes(tmp_path, refusing) as all_nodes:
        one, two = all_nodes
        await ask_and_disconnect(one, begun)
        waiting = asyncio.create_task(ask(two, **RETRY))
        await asyncio.sleep(0.05)  # Nothing announces that the other node waits.
        may.set()
        got = await waiting
        assert (got.status, got.error["message"]) == (400, "The provider answered: No.")
        again = await ask(two, **RETRY)
        assert (again.status, len(all_nodes.fake.requests)) == (400, 2)


async def test_a_failure_that_may_have_been_paid_for_is_told_once_elsewhere(tmp_path: Path) -> None:
    begun = asyncio.Event()
    may = asyncio.Event()
    calls = 0

    async def cut(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls > 1:
            return json_reply(ANSWER)
        begun.set()
        await may.wait()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with nodes(tmp_path, cut) as (one, two):
        await ask_and_disconnect(one, begun)
        may.set()
        await wait_until(lambda: one.app[JOBS].running_count == 0)
        got = await ask(two, **RETRY)
        assert (got.status, got.error["code"]) == (502, "connection_lost")
        assert (got.headers["x-should-retry"], calls) == ("false", 1)
        again = await ask(two, **RETRY)
        assert (again.status, calls) == (200, 2)


async def test_what_ran_on_a_node_that_is_gone_is_told_and_not_paid_again(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply, count=1) as all_nodes:
        (one,) = all_nodes
        async with all_nodes.add() as gone:
            await ask_and_disconnect(gone, slow.started)
        got = await ask(one, **RETRY)
        assert (got.status, got.error["code"]) == (502, "job_lost")
        assert (got.headers["x-should-retry"], slow.calls) == ("false", 1)
        slow.release.set()
        again = await ask(one, **RETRY)
        assert (again.status, slow.calls) == (200, 2)


async def test_what_a_node_has_finished_outlives_it(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply, count=1) as all_nodes:
        (one,) = all_nodes
        async with all_nodes.add() as going:
            slow.release.set()
            delivered = await ask(going)
            await ask_and_disconnect(going, slow.started, "a sphere")
            await wait_until(lambda: going.app[JOBS].running_count == 0)
            sharing = going.app[JOB_CLUSTER]
            assert sharing is not None
            await sharing.wait_until_stored()
            assert sharing.unsaved_count == 0
        got = [await ask(one, **RETRY), await ask(one, "a sphere", **RETRY)]
        assert got[0].body == delivered.body
        assert ([it.json["created"] for it in got], slow.calls) == ([1, 2], 2)


async def test_a_job_can_be_asked_for_and_cancelled_on_any_node(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply) as all_nodes:
        one, two = all_nodes
        got = await ask(one, prefer="respond-async")
        place = got.json["id"]
        path = f"/v1/images/jobs/{place}"
        await slow.started.wait()
        running = await two.ask(method="GET", path=path)
        stranger = await two.ask(method="GET", path=path, api_key=OTHER_KEY)
        assert (running.status, running.json["status"], stranger.status) == (202, "running", 404)
        slow.release.set()
        await wait_until(lambda: any(tmp_path.glob("results/*")))
        done = await two.ask(method="GET", path=path)
        assert (done.status, done.json["created"]) == (200, 1)
        assert (await two.ask(method="DELETE", path=path)).status == 204
        await wait_until(lambda: not any(tmp_path.glob("results/*")))
        await wait_until(lambda: not one.app[JOBS].has(place))
        assert (await one.ask(method="GET", path=path)).status == 404


async def test_a_cancelled_job_ends_where_it_runs(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply) as (one, two):
        place = (await ask(one, prefer="respond-async")).json["id"]
        await slow.started.wait()
        gone = await two.ask(method="DELETE", path=f"/v1/images/jobs/{place}")
        await wait_until(lambda: one.app[JOBS].running_count == 0)
        assert gone.status == 204


async def test_a_retry_that_need_not_wait_is_told_where_to_ask_on_any_node(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply, count=3) as (one, two, three):
        await ask_and_disconnect(one, slow.started)
        got = await ask(two, prefer="respond-async", **RETRY)
        path = f"/v1/images/jobs/{got.json['id']}"
        await wait_until(lambda: two.app[JOBS].running_count == 1)
        slow.release.set()
        await wait_until(lambda: two.app[JOBS].running_count == 0)
        collected = await three.ask(method="GET", path=path)
        assert (collected.status, collected.json["created"], slow.calls) == (200, 1, 1)


async def test_a_callers_jobs_are_bounded_over_all_nodes(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply, "limits: {caller_jobs: 2}") as (one, two):
        asked = [asyncio.create_task(ask(it)) for it in (one, two)]
        await wait_until(lambda: slow.calls == 2)
        third = await ask(two)
        other = asyncio.create_task(ask(two, api_key=OTHER_KEY))
        assert (third.status, third.error["code"]) == (503, "overloaded")
        slow.release.set()
        assert [(await it).status for it in (*asked, other)] == [200, 200, 200]

        async def has_room() -> bool:
            return bool((await ask(one)).status == 200)

        await wait_until(has_room)


async def test_without_what_is_shared_each_node_knows_its_own_and_finds_back(
    tmp_path: Path,
) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply) as all_nodes:
        one, two = all_nodes
        all_nodes.shared.is_unavailable = True
        await ask_and_disconnect(one, slow.started)
        at_home = asyncio.create_task(ask(one, **RETRY))
        slow.release.set()
        assert ((await at_home).json["created"], slow.calls) == (1, 1)
        slow.release.clear()
        slow.started.clear()
        await ask_and_disconnect(one, slow.started, "a sphere")
        all_nodes.shared.memory = MemoryStore()
        all_nodes.shared.is_unavailable = False

        async def is_told() -> bool:
            seen = await two.app[JOB_CLUSTER].look_up("test", one.app[JOBS].all()[-1].id)  # type: ignore[union-attr]  # it is there
            return seen is not None

        await wait_until(is_told)
        retry = asyncio.create_task(ask(two, "a sphere", **RETRY))
        await asyncio.sleep(0.05)  # Nothing announces that the other node looks.
        slow.release.set()
        assert ((await retry).json["created"], slow.calls) == (2, 2)


async def test_a_wait_for_another_nodes_job_is_kept_alive(tmp_path: Path) -> None:
    slow = SlowProvider()
    async with nodes(tmp_path, slow.reply) as (one, two):
        await ask_and_disconnect(one, slow.started)
        retry = asyncio.create_task(ask(two, x_easel_keepalive="1", **RETRY))
        await asyncio.sleep(1.5)
        slow.release.set()
        got = await retry
        assert (got.body[:1], got.json["created"], slow.calls) == (b" ", 1, 1)


async def test_a_node_can_stop_though_nobody_can_be_told(tmp_path: Path) -> None:
    slow = SlowProvider()
    slow.release.set()
    async with nodes(tmp_path, slow.reply, count=1) as all_nodes:
        (one,) = all_nodes
        all_nodes.shared.is_unavailable = True
        assert (await ask(one)).status == 200
        sharing = one.app[JOB_CLUSTER]
        assert sharing is not None
        async with asyncio.timeout(20):
            await sharing.wait_until_stored()
        assert sharing.unsaved_count == 0
        assert await asyncio.to_thread(lambda: any(tmp_path.glob("results/*")))


async def test_a_thousand_jobs_are_found_again_after_all_was_lost(tmp_path: Path) -> None:
    slow = SlowProvider()
    slow.release.set()
    async with nodes(tmp_path, slow.reply, count=1) as all_nodes:
        (one,) = all_nodes
        for _ in range(5):
            await asyncio.gather(*(ask(one, str(number)) for number in range(100)))
        all_nodes.shared.memory = MemoryStore()
        async with all_nodes.add() as two:
            sharing = two.app[JOB_CLUSTER]

            async def all_told() -> bool:
                seen = [await sharing.look_up("test", job.id) for job in one.app[JOBS].all()]
                return all(seen)

            await wait_until(all_told)
            asked_before = slow.calls
            assert (await ask(two, "7", **RETRY)).status == 200
            assert slow.calls == asked_before
    assert all_nodes.shared.largest_batch <= 1000


async def test_an_answer_that_was_evicted_is_not_waited_for(tmp_path: Path) -> None:
    slow = SlowProvider()
    slow.release.set()
    async with nodes(tmp_path, slow.reply) as (one, two):
        await ask(one)
        (job,) = one.app[JOBS].all()
        job.recording.discard()
        first = await ask(two, **RETRY)
        assert (first.status, first.error["code"]) == (502, "job_lost")
        again = await ask(two, **RETRY)
        assert (again.status, slow.calls) == (200, 2)
