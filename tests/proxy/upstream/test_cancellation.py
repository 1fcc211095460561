"""Jobs at providers whose client has gone: cancelled once, or left running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from adapters.contract import Answer, Flow
from adapters.errors import FlowCancelled, no_image_error
from adapters.http import ProviderReply, ProviderRequest
from proxy.jobs.keys import JOBS
from proxy.upstream.cancellation import cancel_flow
from tests.support.gateway import OTHER_KEY, OURS, PATH, Gateway, gateway, gateway_to, provider
from tests.support.queue_provider import CANCELS, SECRET, left, queue, until
from tests.support.raw_http import connections


async def begun(ours: Gateway, **more: Any) -> str:
    """Start a job at the gateway; return its URL."""
    asked = {"prompt": "a cube", "model": "photon-1", **more}
    named = {**OURS, "x-portkey-virtual-key": "up", "prefer": "respond-async"}
    async with ours.session.post(ours.url + PATH, json=asked, headers=named) as got:
        assert got.status == 202
        return got.headers["location"]


async def test_a_disconnect_cancels_the_job_with_on_disconnect_cancel() -> None:
    async with queue(CANCELS) as (ours, jobs):
        await left(ours, jobs)
        await until(lambda: jobs.cancelled and not connections(ours))
        await asyncio.sleep(0.05)  # A poll that went on would come within this time.
        assert jobs.cancelled == ["DELETE /generations/1"]
        assert jobs.asked[-1] == jobs.cancelled[0]
        assert ours.app[JOBS].running_count == 0


async def test_a_disconnect_leaves_the_job_running_by_default() -> None:
    async with queue() as (ours, jobs):
        await left(ours, jobs)
        jobs.done.add("1")
        await until(lambda: not ours.app[JOBS].running_count)
        assert not jobs.cancelled
        params = {"model": "photon-1"}
        got = await ours.draw(params=params, virtual_key="up", x_stainless_retry_count="1")
        assert got.status == 200


@pytest.mark.parametrize(("n", "stream"), [(1, False), (2, False), (1, True), (2, True)])
async def test_a_job_that_is_deleted_is_cancelled_at_the_provider(n: int, *, stream: bool) -> None:
    async with queue() as (ours, jobs):
        place = await begun(ours, n=n, stream=stream)
        await asyncio.wait_for(jobs.polled.wait(), 5)
        assert (await ours.ask(method="DELETE", path=place, api_key=OTHER_KEY)).status == 404
        assert (await ours.ask(method="DELETE", path=place)).status == 204
        await until(lambda: len(jobs.cancelled) == n)
        assert (await ours.ask(method="GET", path=place)).status == 404
        await until(lambda: not connections(ours))
        assert len(jobs.cancelled) == n


async def test_images_that_are_finished_are_not_cancelled() -> None:
    async with queue(CANCELS) as (ours, jobs):
        jobs.done.add("1")
        asked = {"prompt": "a cube", "model": "photon-1", "n": 2, "stream": True}
        named = {**OURS, "x-portkey-virtual-key": "up"}
        async with ours.session.post(ours.url + PATH, json=asked, headers=named) as got:
            assert b"image_generation.completed" in await got.content.readline()
            got.close()
        await until(lambda: jobs.cancelled and not connections(ours))
        assert jobs.cancelled == ["DELETE /generations/2"]


async def test_a_finished_job_is_not_cancelled() -> None:
    async with queue() as (ours, jobs):
        jobs.done.add("1")
        place = await begun(ours)
        await until(lambda: not ours.app[JOBS].running_count)
        assert (await ours.ask(method="DELETE", path=place)).status == 204
    assert not jobs.cancelled


async def test_a_timeout_cancels_the_job_without_waiting_for_it() -> None:
    async with queue("timeouts: {total: 0.2}\n") as (ours, jobs):
        jobs.deletes_after = 1.5
        async with asyncio.timeout(1.5):
            got = await ours.draw(params={"model": "photon-1"}, virtual_key="up")
        assert (got.status, got.error["code"]) == (504, "timeout")
        await until(lambda: jobs.cancelled)


async def test_a_shutdown_cancels_running_jobs() -> None:
    async with queue() as (ours, jobs):
        await begun(ours)
        await asyncio.wait_for(jobs.polled.wait(), 5)
    assert jobs.cancelled == ["DELETE /generations/1"]


async def test_a_refused_cancellation_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with queue() as (ours, jobs):
        jobs.deletes_with = 409
        place = await begun(ours)
        await asyncio.wait_for(jobs.polled.wait(), 5)
        await ours.ask(method="DELETE", path=place)
    assert caplog.messages == ["luma did not cancel a job: 409"]
    assert len(jobs.cancelled) == 1


async def test_a_cancellation_has_a_timeout(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.upstream.cancellation._TIMEOUT", 0.1)
    async with queue() as (ours, jobs):
        jobs.deletes_after = 5
        await begun(ours)
        await asyncio.wait_for(jobs.polled.wait(), 5)
    assert caplog.messages == ["luma did not cancel a job: timeout"]


async def test_no_credential_goes_to_a_foreign_host(caplog: pytest.LogCaptureFixture) -> None:
    polled = asyncio.Event()

    async def prediction(request: web.Request) -> web.Response:
        if request.method == "GET":
            polled.set()
            await asyncio.sleep(0.01)
        place = f"{request.url.origin()}/predictions/1"
        urls = {"get": place, "cancel": f"{stranger.url}/predictions/1/cancel"}
        return web.json_response({"id": "1", "status": "starting", "urls": urls})

    async with provider() as stranger, provider(prediction) as fake:
        stored = f"{{provider: replicate, api_key: {SECRET}, custom_host: '{fake.url}'}}"
        async with gateway(f"virtual_keys: {{up: {stored}}}\n{CANCELS}") as ours:
            params = {"model": "black-forest-labs/flux-dev"}
            asking = asyncio.ensure_future(ours.draw(params=params, virtual_key="up"))
            await asyncio.wait_for(polled.wait(), 5)
            asking.cancel()
            await until(lambda: caplog.messages)
        assert not stranger.requests
    assert caplog.messages == ["replicate did not cancel a job: foreign_url"]


async def test_a_provider_without_cancellation_has_its_connection_closed() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        asked.set()
        await until(lambda: request.transport is None or request.transport.is_closing())
        closed.set()
        return web.Response()

    async with gateway_to(silent) as (ours, fake):
        place = await begun(ours)
        await asyncio.wait_for(asked.wait(), 5)
        assert connections(ours) == 1
        assert (await ours.ask(method="DELETE", path=place)).status == 204
        await asyncio.wait_for(closed.wait(), 5)
        assert connections(ours) == 0
        assert len(fake.requests) == 1


async def test_a_disconnect_closes_the_connection_with_on_disconnect_cancel() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        asked.set()
        await until(lambda: request.transport is None or request.transport.is_closing())
        closed.set()
        return web.Response()

    async with gateway_to(silent, CANCELS) as (ours, _):
        named = {**OURS, "x-portkey-virtual-key": "up"}
        timeout = aiohttp.ClientTimeout(total=0.1)
        with pytest.raises(TimeoutError):
            await ours.session.post(
                ours.url + PATH, json={"prompt": "a"}, headers=named, timeout=timeout
            )
        await asyncio.wait_for(closed.wait(), 5)
        assert connections(ours) == 0


QUESTION = ProviderRequest("/jobs/7", method="GET")
CANCEL = ProviderRequest("/jobs/7/cancel")


def cancelling() -> Flow:
    try:
        yield QUESTION
    except FlowCancelled:
        yield CANCEL
        raise
    return Answer(())


def careless() -> Flow:
    yield QUESTION
    return Answer(())


def broken() -> Flow:
    try:
        yield QUESTION
    except FlowCancelled:
        raise no_image_error() from None
    return Answer(())


def forgiving() -> Flow:
    try:
        yield QUESTION
    except FlowCancelled:
        return Answer(())
    return Answer(())


@pytest.mark.parametrize(
    ("flow", "request_"),
    [(cancelling, CANCEL), (careless, None), (broken, None), (forgiving, None)],
)
def test_a_cancelled_flow_sends_at_most_one_request(
    flow: Callable[[], Flow], request_: ProviderRequest | None
) -> None:
    unbegun = flow()
    assert cancel_flow(unbegun) is None
    waiting = flow()
    next(waiting)
    assert cancel_flow(waiting) is request_
    assert cancel_flow(waiting) is None
    with pytest.raises(StopIteration):
        waiting.send(ProviderReply())
