"""What is counted is what was asked: requests through running gateways, and what became of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from proxy.context import IN_FLIGHT
from tests.support.gateway import ANSWER, PATH, Gateway, always, gateway, gateway_to, json_reply
from tests.support.metrics import counted

UP = {"virtual_key": "up"}
PC = {"config": '{"virtual_key":"up","cache":{"mode":"simple"}}'}


async def ended(ours: Gateway) -> None:
    """Wait until a gateway has nothing to do."""
    async with asyncio.timeout(10):
        while ours.app[IN_FLIGHT]:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


async def test_requests_that_are_counted_are_those_that_were_sent() -> None:
    statuses: Counter[int] = Counter()
    async with gateway_to() as (ours, fake):

        async def one(number: int) -> None:
            asks: tuple[Any, ...] = (
                lambda: ours.draw(**UP),
                lambda: ours.draw(params={"prompt": 5}, **UP),
                lambda: ours.draw(api_key="wrong", **UP),
                lambda: ours.draw(x_easel_dry_run="true", **UP),
                lambda: ours.ask(method="GET", path="/nowhere"),
            )
            statuses[(await asks[number % len(asks)]()).status] += 1

        await asyncio.gather(*map(one, range(100)))
        by_outcome: Counter[str] = Counter()
        for (_, _, outcome, _), count in counted(ours, "easel_requests_total").items():
            by_outcome[outcome] += int(count)
        assert by_outcome.total() == 80
        assert by_outcome["ok"] == len(fake.requests)
        assert by_outcome["unauthorized"] == statuses[401] == 20
        assert sum(counted(ours, "easel_http_requests_total").values()) == 100
        assert counted(ours, "easel_http_requests_total")["none", "4xx"] == 20
        assert sum(counted(ours, "easel_request_seconds").values()) == 80 - by_outcome["dry_run"]


async def test_each_outcome_is_counted_as_such() -> None:
    replies = {
        "refused": json_reply({"error": {"code": "moderation_blocked", "message": "No."}}, 400),
        "rate_limited": json_reply({"error": {"message": "Slowly."}}, 429),
        "provider_error": json_reply({"error": {"message": "Down."}}, 500),
        "client_error": json_reply({"error": {"message": "Too wide."}}, 400),
        "timeout": json_reply({"error": {"message": "Late."}}, 504),
        "ok": json_reply(ANSWER),
    }
    asked = list(replies)

    async def reply(request: web.Request) -> web.Response:
        del request
        return replies[asked.pop(0)]

    async with gateway_to(reply) as (ours, _):
        for _ in replies:
            await ours.draw(params={"model": "gpt-image-1"}, **UP)
        assert counted(ours, "easel_requests_total") == {
            ("openai", "gpt-image-1", outcome, "none"): 1 for outcome in replies
        }
        assert counted(ours, "easel_attempts_total") == {
            ("openai", outcome): 1 for outcome in replies
        }


async def test_a_dry_run_is_told_apart_and_in_no_histogram() -> None:
    async with gateway_to() as (ours, _):
        await ours.draw(x_easel_dry_run="true", **UP)
        ((_, _, outcome, _),) = counted(ours, "easel_requests_total")
        assert outcome == "dry_run"
        for name in ("request", "first_byte", "provider"):
            assert not counted(ours, f"easel_{name}_seconds")


async def test_pictures_of_the_cache_are_told_apart_and_cost_nothing() -> None:
    async with gateway_to(always(ANSWER)) as (ours, _):
        for _ in range(4):
            await ours.draw(params={"model": "dall-e-3"}, **PC)
            await asyncio.sleep(0.1)
        found = counted(ours, "easel_requests_total")
        assert found["openai", "dall-e-3", "ok", "MISS"] == 1
        assert found["openai", "dall-e-3", "ok", "HIT"] == 3
        assert counted(ours, "easel_images_total") == {
            ("openai", "dall-e-3", "provider"): 1,
            ("openai", "dall-e-3", "cache"): 3,
        }


async def test_a_fallback_and_a_retry_are_counted() -> None:
    asked: list[str] = []

    async def reply(request: web.Request) -> web.Response:
        asked.append(request.path)
        return json_reply(ANSWER, 200 if request.path.startswith("/b") else 500)

    async with gateway_to(reply) as (ours, fake):
        first = {"provider": "openai", "api_key": "k" * 16, "custom_host": f"{fake.url}/a"}
        config = {
            "strategy": {"mode": "fallback"},
            "targets": [
                {**first, "retry": {"attempts": 1, "on_status_codes": [500]}},
                {**first, "custom_host": f"{fake.url}/b"},
            ],
        }
        base = "trusted_custom_hosts: ['127.0.0.1']\n"
        async with gateway(base) as node:
            got = await node.draw(config=orjson.dumps(config).decode())
            assert got.status == 200
            assert counted(node, "easel_retries_total") == {("openai",): 1}
            assert counted(node, "easel_fallbacks_total") == {("openai",): 1}
            assert counted(node, "easel_attempts_total") == {
                ("openai", "provider_error"): 1,
                ("openai", "ok"): 1,
            }
        assert len(asked) == 3
        assert not counted(ours, "easel_retries_total")


async def test_who_joins_a_job_begins_none_and_its_answer_says_whose_it_is() -> None:
    async with gateway_to() as (ours, _):
        for _ in range(3):
            await ours.draw(**UP, idempotency_key="one")
        assert counted(ours, "easel_jobs_begun_total") == {(): 1}
        assert counted(ours, "easel_joined_total") == {("done",): 2}
        assert counted(ours, "easel_requests_total") == {("openai", "none", "ok", "none"): 3}
        assert counted(ours, "easel_images_total") == {("openai", "none", "provider"): 1}


async def test_a_client_that_leaves_is_told_apart_and_its_picture_is_counted() -> None:
    go_on, came = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        del request
        came.set()
        await go_on.wait()
        return json_reply(ANSWER)

    async with gateway_to(slow) as (ours, _):
        task = asyncio.create_task(ours.draw(**UP))
        await came.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # Nobody learns that a client has left before writing to it.
        await asyncio.sleep(0.05)
        go_on.set()
        await ended(ours)
        assert [outcome for _, _, outcome, _ in counted(ours, "easel_requests_total")] == [
            "client_gone"
        ]
        assert counted(ours, "easel_images_total") == {("openai", "none", "provider"): 1}


async def test_who_does_not_wait_is_accepted() -> None:
    async with gateway_to() as (ours, _):
        assert (await ours.draw(**UP, prefer="respond-async")).status == 202
        ((_, _, outcome, _),) = counted(ours, "easel_requests_total")
        assert outcome == "accepted"


async def test_an_answer_that_was_begun_and_cut_is_told_apart() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = 1_000_000
        await response.prepare(request)
        await response.write(b"x" * 200_000)
        assert request.transport
        request.transport.abort()
        return response

    async with gateway_to(cut) as (ours, _):
        with_cut = False
        try:
            await ours.draw(**UP)
        except aiohttp.ClientError:
            with_cut = True
        assert with_cut
        await ended(ours)
        ((_, _, outcome, _),) = counted(ours, "easel_requests_total")
        assert outcome == "cut"


async def test_bytes_are_counted_on_both_sides() -> None:
    async with gateway_to() as (ours, _):
        got = await ours.draw(**UP)
        assert counted(ours, "easel_request_bytes_total") == {(): len(b'{"prompt":"a cube"}')}
        assert counted(ours, "easel_answer_bytes_total") == {(): len(got.body)}
        assert counted(ours, "easel_provider_bytes_total")[()] > len(orjson.dumps(ANSWER))


async def test_the_studio_is_a_provider_of_its_own_name() -> None:
    async with gateway("virtual_keys: {draw: {provider: sandbox}}") as ours:
        await ours.draw(virtual_key="draw", params={"size": "64x64"})
        ((provider, _, outcome, _),) = counted(ours, "easel_requests_total")
        assert (provider, outcome) == ("sandbox", "ok")


async def test_a_wait_is_counted_once_for_each_request_that_came_to_a_provider() -> None:
    async with gateway_to() as (ours, _):
        await ours.draw(**UP)
        await ours.draw(params={"prompt": 5}, **UP)
        assert counted(ours, "easel_queue_seconds") == {(): 1}
        assert sum(counted(ours, "easel_first_byte_seconds").values()) == 2


async def test_both_spellings_of_the_route_are_counted() -> None:
    async with gateway_to() as (ours, _):
        for path in (PATH, PATH.removeprefix("/v1")):
            await ours.ask({"prompt": "a cube"}, path=path, **UP)
        assert sum(counted(ours, "easel_requests_total").values()) == 2
