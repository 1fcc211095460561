"""Collecting the response of a job, and deleting it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from yarl import URL

from proxy.jobs.keys import JOBS
from tests.support.gateway import ANSWER, OTHER_KEY, OURS, PATH, Gateway, gateway_to
from tests.support.waiting import until

UNKNOWN_JOB = "/v1/images/jobs/0123456789abcdef0123456789abcdef"


async def slow(request: web.Request) -> web.Response:
    del request
    await asyncio.sleep(0.2)
    return web.json_response(ANSWER)


async def start_job(ours: Gateway) -> str:
    """Start a job; return its path."""
    named = {**OURS, "x-portkey-virtual-key": "up", "prefer": "respond-async"}
    async with ours.session.post(ours.url + PATH, json={"prompt": "a"}, headers=named) as began:
        assert began.status == 202
        return began.headers["location"]


async def test_it_is_202_until_it_is_the_answer_itself() -> None:
    async with gateway_to(slow) as (ours, fake):
        place = await start_job(ours)
        waiting = await ours.ask(method="GET", path=place)
        assert (waiting.status, waiting.headers["location"]) == (202, place)
        assert "retry-after" in waiting.headers
        assert waiting.headers["x-easel-job"] == place.rsplit("/", 1)[1]
        await until(lambda: ours.app[JOBS].running_count == 0)
        for _ in range(2):
            got = await ours.ask(method="GET", path=place)
            assert (got.status, got.json) == (200, ANSWER)
        assert len(fake.requests) == 1


async def large(request: web.Request) -> web.Response:
    del request
    return web.json_response({"data": [{"b64_json": "A" * 200_000}]})


@pytest.mark.parametrize("reply", [slow, large])
async def test_its_head_alone_is_nothing_that_was_delivered(
    reply: Callable[[web.Request], Awaitable[web.Response]],
) -> None:
    async with gateway_to(reply) as (ours, _):
        place = await start_job(ours)
        await until(lambda: ours.app[JOBS].running_count == 0)
        named = {**OURS, "host": "localhost"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(ours.url).port)
        writer.write(f"HEAD {place} HTTP/1.1\r\nconnection: close\r\n{lines}\r\n".encode())
        head, end, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert (head.split()[1], bool(end), body) == (b"200", True, b"")
        (job,) = ours.app[JOBS]._by_id.values()
        assert job.deliveries == 0


async def test_another_callers_job_is_not_there() -> None:
    async with gateway_to(slow) as (ours, _):
        place = await start_job(ours)
        for method in ("GET", "DELETE"):
            others = await ours.ask(method=method, path=place, api_key=OTHER_KEY)
            never = await ours.ask(method=method, path=UNKNOWN_JOB)
            assert others.status == never.status == 404
            assert others.error == never.error
            assert never.error["code"] == "job_not_found"
        assert (await ours.ask(method="GET", path=place)).status == 202


async def test_what_is_given_up_ends_and_is_gone() -> None:
    async with gateway_to(slow) as (ours, _):
        done = await start_job(ours)
        await until(lambda: ours.app[JOBS].running_count == 0)
        assert (await ours.ask(method="GET", path=done)).status == 200
        running = await start_job(ours)
        for place in (running, done):
            assert (await ours.ask(method="DELETE", path=place)).status == 204
            assert (await ours.ask(method="GET", path=place)).status == 404
        await until(lambda: ours.app[JOBS].running_count == 0)
