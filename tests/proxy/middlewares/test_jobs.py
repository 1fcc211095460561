"""Jobs over real sockets: one paid call per image, even if clients disconnect and retry."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.jobs.keys import JOBS
from proxy.observability.access_log import ACCESS_LOG
from tests.support.gateway import (
    ANSWER,
    OTHER_KEY,
    OURS,
    PATH,
    Gateway,
    gateway,
    gateway_to,
    json_reply,
    provider,
)
from tests.support.providers import AGAIN, left, slow
from tests.support.waiting import until

UP = {"virtual_key": "up"}
LARGE = orjson.dumps({"created": 1, "data": [{"b64_json": "A" * 900_000}]})


class Gate:
    """A provider that starts its response at once and completes it when the gate opens."""

    def __init__(self, body: bytes = LARGE) -> None:
        self.body = body
        self.open = asyncio.Event()
        self.begun = asyncio.Event()

    async def reply(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(self.body[:200_000])
        self.begun.set()
        await self.open.wait()
        await response.write(self.body[200_000:])
        return response


async def ask(ours: Gateway, **headers: str) -> Any:
    return await ours.ask({"prompt": "a cube"}, **UP, **headers)


async def test_a_client_that_leaves_and_comes_back_pays_once() -> None:
    async with gateway_to(slow) as (ours, fake):
        await left(ours)
        got = await ask(ours, **AGAIN)
        assert (got.status, got.json, len(fake.requests)) == (200, ANSWER, 1)


async def test_a_picture_is_parked_for_a_client_that_comes_back_later() -> None:
    async with gateway_to(slow) as (ours, fake):
        await left(ours)
        await until(lambda: ours.app[JOBS].running_count == 0)
        assert (await ask(ours, **AGAIN)).json == ANSWER
        assert len(fake.requests) == 1


async def test_a_fresh_request_is_another_picture() -> None:
    async with gateway_to(slow) as (ours, fake):
        await asyncio.gather(*[ask(ours) for _ in range(3)])
        assert len(fake.requests) == 3


SIMPLE, COALESCE = '{"mode": "simple"}', '{"coalesce": true}'
REFRESH, UNTRACKED = {"cache_force_refresh": "true"}, {"debug": "false"}


def cached(policy: str) -> dict[str, str]:
    return {"config": f'{{"virtual_key": "up", "cache": {policy}}}'}


@pytest.mark.parametrize(("policy", "after"), [(SIMPLE, 1), (COALESCE, 2)])
async def test_identical_misses_share_one_call(policy: str, after: int) -> None:
    async with gateway_to(slow) as (ours, fake):
        asking = [ours.ask({"prompt": "a cube"}, **cached(policy)) for _ in range(100)]
        got = await asyncio.gather(*asking)
        assert {(it.status, it.body) for it in got} == {(200, got[0].body)}
        assert len({it.headers["x-easel-job"] for it in got}) == 1
        assert len(fake.requests) == 1
        # What is kept is a hit now; what is only made once at a time is made anew.
        await ours.ask({"prompt": "a cube"}, **cached(policy))
        assert len(fake.requests) == after


@pytest.mark.parametrize(
    ("policy", "headers", "calls"),
    [
        (SIMPLE, [{}, REFRESH], 2),
        (SIMPLE, [REFRESH, {}, REFRESH], 2),
        (COALESCE, [REFRESH, {}, REFRESH], 2),
        (SIMPLE, [UNTRACKED, UNTRACKED], 2),
        (COALESCE, [UNTRACKED, UNTRACKED], 1),
        (COALESCE, [{}, {"api_key": OTHER_KEY}], 2),
    ],
)
async def test_who_asks_for_another_answer_shares_no_call(
    policy: str, headers: list[dict[str, str]], calls: int
) -> None:
    async with gateway_to(slow) as (ours, fake):
        asking = [ours.ask({"prompt": "a cube"}, **cached(policy), **more) for more in headers]
        await asyncio.gather(*asking)
        assert len(fake.requests) == calls


async def test_a_cut_in_mid_body_is_collected_byte_for_byte() -> None:
    gate = Gate()
    async with gateway_to(gate.reply) as (ours, fake):
        named = {**OURS, "x-portkey-virtual-key": "up"}
        async with ours.session.post(
            ours.url + PATH, json={"prompt": "a cube"}, headers=named
        ) as got:
            await got.content.readexactly(100_000)
            got.close()
        joining = asyncio.ensure_future(ask(ours, **AGAIN))
        await asyncio.sleep(0.05)
        gate.open.set()
        assert (await joining).body == LARGE
        assert (await ask(ours, **AGAIN)).body == LARGE
        assert len(fake.requests) == 1


async def test_the_job_is_named_on_every_answer() -> None:
    async with gateway_to(slow) as (ours, _):
        first, second = await ask(ours), await ask(ours, **AGAIN)
        assert first.headers["x-easel-job"] == second.headers["x-easel-job"]
        assert len(first.headers["x-easel-job"]) == 32
        assert second.headers["x-portkey-provider"] == "openai"


async def test_the_same_key_with_another_body_is_422() -> None:
    async with gateway_to(slow) as (ours, fake):
        key = {"idempotency-key": "k1"}
        named = {**OURS, "x-portkey-virtual-key": "up", **key}
        for prompt, status in (("a", 200), ("a", 200), ("b", 422)):
            async with ours.session.post(
                ours.url + PATH, json={"prompt": prompt}, headers=named
            ) as got:
                assert got.status == status
        assert len(fake.requests) == 1


async def test_a_failure_is_not_collected() -> None:
    async def failing(request: web.Request) -> web.Response:
        if len(fake.requests) == 1:
            return web.json_response({"error": {"message": "no", "type": "t"}}, status=500)
        return await slow(request)

    async with gateway_to(failing) as (ours, fake):
        assert (await ask(ours)).status == 500
        assert (await ask(ours, **AGAIN)).status == 200


async def test_a_client_can_be_told_to_come_back() -> None:
    async with gateway_to(slow, "jobs: {wait_seconds: 0.05}") as (ours, fake):
        got = await ask(ours)
        assert (got.status, got.error["code"]) == (504, "still_working")
        assert (got.headers["x-should-retry"], got.headers["retry-after"]) == ("true", "1")
        await until(lambda: ours.app[JOBS].running_count == 0)
        assert (await ask(ours, **AGAIN)).json == ANSWER
        assert len(fake.requests) == 1


async def test_an_sdk_is_told_not_to_pay_again_for_an_unknown_outcome() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    async with gateway_to(cut) as (ours, _):
        got = await ask(ours)
        assert (got.status, got.headers["x-should-retry"]) == (502, "false")


async def test_a_retry_hears_of_a_failure_that_its_client_could_not_be_told() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(LARGE[:200_000])
        assert request.transport
        request.transport.abort()
        return response

    async with gateway_to(cut) as (ours, fake):
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(ours)
        fake.reply = slow
        told = await ask(ours, **AGAIN)
        assert (told.status, told.error["code"]) == (502, "connection_lost")
        assert (told.headers["x-should-retry"], len(fake.requests)) == ("false", 1)
        assert ((await ask(ours, **AGAIN)).json, len(fake.requests)) == (ANSWER, 2)


async def test_who_left_before_a_failure_was_known_hears_of_it_with_its_retry() -> None:
    async def late_cut(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        assert request.transport
        request.transport.abort()
        return web.Response()

    async with gateway_to(late_cut) as (ours, fake):
        await left(ours)
        await until(lambda: ours.app[JOBS].running_count == 0)
        told = await ask(ours, **AGAIN)
        assert (told.status, told.error["code"], len(fake.requests)) == (502, "connection_lost", 1)


async def test_the_retry_of_one_of_two_equal_requests_gets_its_own_picture() -> None:
    count = 0

    async def numbered(request: web.Request) -> web.Response:
        nonlocal count
        del request
        count += 1
        mine = count
        await asyncio.sleep(0.3)
        return web.json_response({**ANSWER, "created": mine})

    async with gateway_to(numbered) as (ours, fake):
        staying = asyncio.ensure_future(ask(ours))
        await asyncio.sleep(0.05)
        await left(ours)
        retried = await ask(ours, **AGAIN)
        assert ((await staying).json["created"], retried.json["created"]) == (1, 2)
        assert len(fake.requests) == 2


async def test_a_failure_that_is_parked_holds_no_request() -> None:
    async with gateway_to(slow) as (ours, _):
        await ours.draw(params={"stream": "yes"}, **UP)
        [job] = ours.app[JOBS]._by_id.values()
        assert job.recording.failure
        assert job.recording.failure.__traceback__ is None


async def test_an_sdk_is_told_not_to_begin_again_what_was_cancelled() -> None:
    async with gateway_to(slow) as (ours, fake):
        asking = asyncio.ensure_future(ask(ours))
        await asyncio.sleep(0.05)
        name = (await ours.ask({"prompt": "a cube"}, **UP, **AGAIN, prefer="respond-async")).json
        await ours.ask(method="DELETE", path=f"/v1/images/jobs/{name['id']}")
        got = await asking
        assert (got.status, got.error["code"]) == (409, "job_cancelled")
        assert (got.headers["x-should-retry"], len(fake.requests)) == ("false", 1)


async def test_a_job_under_way_tells_how_far_it_is_where_its_provider_does() -> None:
    told: list[float | None] = [None]

    async def pending(request: web.Request) -> web.Response:
        await asyncio.sleep(0.01)
        origin = str(request.url.origin())
        return web.json_response({"polling_url": origin, "status": "Pending", "progress": told[-1]})

    async with provider(pending) as fake:
        stored = f"{{provider: black-forest-labs, api_key: k, custom_host: '{fake.url}'}}"
        async with gateway(f"virtual_keys: {{up: {stored}}}\n") as ours:
            named = {**OURS, "x-portkey-virtual-key": "up", "prefer": "respond-async"}
            asked = {"prompt": "a", "model": "flux-2-pro"}
            async with ours.session.post(ours.url + PATH, json=asked, headers=named) as began:
                assert "progress" not in await began.json()
                place = began.headers["location"]
            assert "progress" not in (await ours.ask(method="GET", path=place)).json
            told.append(0.4)

            async def has_progress() -> bool:
                return "progress" in (await ours.ask(method="GET", path=place)).json

            await until(has_progress)
            got = await ours.ask(method="GET", path=place)
            assert (got.status, got.json["status"], got.json["progress"]) == (202, "running", 0.4)


async def test_a_client_that_leaves_ends_the_job_where_the_operator_wants_that() -> None:
    gate = Gate()
    async with gateway_to(gate.reply, "jobs: {on_disconnect: cancel}") as (ours, _):
        named = {**OURS, "x-portkey-virtual-key": "up"}
        async with ours.session.post(
            ours.url + PATH, json={"prompt": "a cube"}, headers=named
        ) as got:
            await got.content.readexactly(100_000)
            got.close()
        async with asyncio.timeout(5):
            while ours.app[JOBS].running_count:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)


async def test_a_joiner_streams_events_from_the_first_on() -> None:
    gate = Gate(b'data: {"b64_json": "' + b"A" * 200_000 + b'"}\n\nevent: b\ndata: {}\n\n')

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(gate.body[:1000])
        await gate.open.wait()
        await response.write(gate.body[1000:])
        return response

    async with gateway_to(events) as (ours, fake):
        asked = {"prompt": "a cube", "stream": True}
        first = asyncio.ensure_future(ours.ask(asked, **UP))
        await until(lambda: len(fake.requests) == 1)
        second = asyncio.ensure_future(ours.ask(asked, **UP, **AGAIN))
        await until(lambda: ours.app[JOBS].all()[0].listeners == 2)
        gate.open.set()
        assert (await first).body == (await second).body == gate.body
        assert len(fake.requests) == 1


KEPT = {"x_easel_keepalive": "1"}


async def slower(request: web.Request) -> web.Response:
    """Reply after the shortest keep-alive interval; fail if the prompt says so."""
    await asyncio.sleep(1.2)
    if (await request.json())["prompt"] == "fail":
        return json_reply({"error": {"message": "no", "type": "t", "code": "c"}}, 500)
    return json_reply(ANSWER, x_request_id="r1")


async def test_an_answer_is_begun_early_where_config_or_header_ask_for_it() -> None:
    config = '{"virtual_key": "up", "keepalive": 1}'
    async with gateway_to(slower) as (ours, fake):
        by_header, by_config, off, failed, joined = await asyncio.gather(
            ours.draw("a", **UP, **KEPT),
            ours.draw("b", config=config),
            ours.draw("c", config=config, x_easel_keepalive="0"),
            ours.draw("fail", **UP, **KEPT),
            ours.draw("a", **UP, **AGAIN),
        )
        for got in (by_header, by_config, off, joined):
            assert (got.status, got.json) == (200, ANSWER)
        early = [it.body.startswith(b" ") for it in (by_header, by_config, off, joined)]
        assert early == [True, True, False, False]
        assert "x-request-id" not in by_header.headers
        assert off.headers["x-request-id"] == joined.headers["x-request-id"] == "r1"
        assert (failed.status, failed.error["code"]) == (200, "c")
        ours.app[ACCESS_LOG].flush()
        lines = [orjson.loads(line) for line in ours.log.getvalue().splitlines()]
        assert [line["error"] for line in lines if line["error"]] == ["c"]
        assert {line["provider"] for line in lines} == {"openai", ""}
        assert len(fake.requests) == 4


async def test_what_is_wrong_with_a_request_keeps_its_status_beside_keepalive() -> None:
    async with gateway_to(slower) as (ours, fake):
        got = await ours.draw(params={"stream": "yes"}, **UP, **KEPT)
        assert (got.status, got.error["param"], fake.requests) == (400, "stream", [])


async def test_a_bug_in_a_job_is_logged_with_its_place(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken_here(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr("proxy.pipeline.execute.PlanExecutor.run", broken_here)
    async with gateway_to() as (ours, _):
        assert (await ask(ours)).status == 500
        assert "broken_here" in caplog.text


async def test_a_client_that_leaves_is_no_reader_any_more() -> None:
    gate = Gate(b"A" * 30_000_000)
    async with gateway_to(gate.reply, "jobs: {memory_bytes: 67108864}") as (ours, _):
        gate.open.set()
        named = {**OURS, "x-portkey-virtual-key": "up"}
        async with ours.session.post(
            ours.url + PATH, json={"prompt": "a cube"}, headers=named
        ) as got:
            await got.content.readexactly(100_000)
            job = ours.app[JOBS].get_for_caller("test", got.headers["x-easel-job"])
            assert job
            # Long enough for the gateway to wait for this client to take more.
            await asyncio.sleep(0.2)
            got.close()
        async with asyncio.timeout(5):
            while job.listeners:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0)
        assert job.recording.reader_count == 0
    assert '"error":"client_gone"' in ours.log.getvalue()


async def test_no_job_is_left_behind() -> None:
    async with gateway_to(slow, "jobs: {result_ttl_seconds: 0}") as (ours, _):
        await ask(ours)
        await left(ours)
        await until(lambda: (len(ours.app[JOBS]), ours.app[JOBS].running_count) == (0, 0))
