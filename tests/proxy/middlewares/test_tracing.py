"""The trace of a request: its caller, and every attempt under the right parent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.gateway import ANSWER, Gateway, Provider, always, json_reply
from tests.support.gateway_nodes import SlowProvider, nodes
from tests.support.gateway_nodes import ask_and_disconnect as leave
from tests.support.otlp import Received, Seen, fresh_receiver
from tests.support.providers import AGAIN, left, slow
from tests.support.spans import PARENT, SPAN, TRACE, UP, config, traced

FALLBACK = config(
    strategy={"mode": "fallback"},
    targets=[
        {"virtual_key": "up", "retry": {"attempts": 1}},
        {
            "virtual_key": "up",
            "override_params": {"model": "gpt-image-2"},
            "retry": {"attempts": 1, "on_status_codes": [500]},
        },
    ],
)


def in_turn(*statuses: int) -> Any:
    """Return a provider that replies with one status after the other."""
    left_over = list(statuses)

    async def reply(request: web.Request) -> web.Response:
        del request
        return json_reply(ANSWER, left_over.pop(0))

    return reply


async def draw(ours: Gateway, _: Provider) -> None:
    await ours.draw(params={"model": "gpt-image-1"}, **UP)


def path_to(seen: Received, span: Seen) -> list[str]:
    """Return the names of all ancestors of a span, the outermost first."""
    known = {it.id: it for it in seen.spans}
    above: list[str] = []
    while span.parent in known:
        span = known[span.parent]
        above.insert(0, span.name)
    return above


async def test_a_fallback_with_retries_shows_every_attempt_in_order_with_its_parents() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        got = await ours.draw(params={"model": "gpt-image-1"}, **FALLBACK)
        assert got.status == 200

    seen = await traced(story, in_turn(503, 503, 500, 200))
    [serving] = seen.of_kind("server")
    [job] = seen.below(serving)
    first, second = seen.below(job)
    assert [serving.name, job.name] == ["generate_content gpt-image-1", "job"]
    assert [first.name, second.name] == [
        "generate_content gpt-image-1",
        "generate_content gpt-image-2",
    ]
    assert [first["easel.target.index"], second["easel.target.index"]] == [
        "config.targets[0]",
        "config.targets[1]",
    ]
    assert [first.failed, second.failed] == [True, False]
    told = [
        [(it["http.response.status_code"], it["http.request.resend_count"]) for it in below]
        for below in (seen.below(first), seen.below(second))
    ]
    assert told == [[(503, None), (503, 1)], [(500, None), (200, 1)]]
    assert [it["easel.retry.reason"] for it in seen.below(first)] == [None, "503"]
    assert job.events == ("easel.fallback",)
    assert len(seen.spans) == 8
    assert {it.trace for it in seen.spans} == {serving.trace}
    assert all(it.began <= it.ended for it in seen.spans)


async def test_a_request_says_who_asked_for_what_and_what_became_of_it() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        params = {"model": "gpt-image-1"}
        await ours.draw(params=params, trace_id="my trace/1", config="saved")

    seen = await traced(story, more="configs: {saved: {virtual_key: up}}\n")
    [serving] = seen.of_kind("server")
    job = serving["easel.job.id"]
    assert dict(serving.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/images/generations",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-image-1",
        "easel.caller": "test",
        "easel.config": "saved",
        "easel.trace_id": "my trace/1",
        "easel.job.id": job,
        "easel.cache.status": "DISABLED",
        "easel.receipt.dropped": 0,
        "easel.receipt.changed": 0,
    }
    assert seen.one("job")["easel.job.id"] == job


async def test_a_callers_trace_goes_on_in_ours() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        got = await ours.draw(traceparent=PARENT, **UP)
        assert got.headers["x-portkey-trace-id"] == TRACE

    seen = await traced(story)
    assert {it.trace for it in seen.spans} == {TRACE}
    [serving] = seen.of_kind("server")
    assert (serving.parent, serving["easel.trace_id"]) == (SPAN, TRACE)


async def test_a_trace_id_of_the_clients_own_is_echoed_all_the_same() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        got = await ours.draw(traceparent=PARENT, trace_id="mine", **UP)
        assert got.headers["x-portkey-trace-id"] == "mine"

    seen = await traced(story)
    assert [it["easel.trace_id"] for it in seen.of_kind("server")] == ["mine"]


async def test_a_trace_that_its_caller_does_not_sample_is_not_sent() -> None:
    async def story(ours: Gateway, fake: Provider) -> None:
        await ours.draw(traceparent=PARENT[:-1] + "0", **UP)
        sent = fake.requests[0].headers["traceparent"]
        assert sent.startswith(f"00-{TRACE}-")
        assert sent.endswith("-00")

    assert (await traced(story)).spans == []


async def test_a_stranger_makes_no_span_and_neither_does_a_probe() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        for path in ("/healthz", "/readyz", "/"):
            assert (await ours.ask(method="GET", path=path)).status == 200
        assert (await ours.draw(x_portkey_api_key="not-a-key-0123456789")).status == 401
        assert (await ours.ask(method="GET", path="/nothing/here")).status == 404

    assert (await traced(story)).spans == []


async def test_other_endpoints_are_named_by_their_route() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        await ours.ask(method="GET", path="/v1/models")
        await ours.ask(method="GET", path="/v1/images/jobs/sekret")

    first, second = (await traced(story)).spans
    assert [first.name, second.name] == ["GET /v1/models", "GET /v1/images/jobs/{id}"]
    assert (second["http.response.status_code"], second["error.type"]) == (404, "job_not_found")
    assert "gen_ai.operation.name" not in first.attributes


@pytest.mark.parametrize(
    ("status", "params", "code", "is_ours"),
    [
        (200, {"prompt": None}, "missing_required_parameter", False),
        (429, {}, "rate_limit_exceeded", False),
        (500, {}, "server_error", True),
    ],
)
async def test_what_the_client_did_wrong_is_no_fault_of_the_servers(
    status: int, params: dict[str, Any], code: str, *, is_ours: bool
) -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        await ours.draw(params=params, **UP)

    [serving] = (await traced(story, in_turn(status))).of_kind("server")
    assert (serving["error.type"], serving.failed) == (code, is_ours)


async def test_a_bug_of_ours_is_a_500_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a sekret")

    monkeypatch.setattr("proxy.pipeline.execute.final_params", broken)
    seen = await traced(draw)
    [serving] = seen.of_kind("server")
    assert (serving["http.response.status_code"], serving["error.type"]) == (500, "ValueError")
    assert serving.failed
    assert b"sekret" not in seen.raw


async def test_a_hit_of_the_cache_is_told_and_asks_nobody() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        cached = config(virtual_key="up", cache={"mode": "simple"})
        # The picture is kept a moment after it has gone out.
        while (await ours.draw(**cached)).headers["x-portkey-cache-status"] != "HIT":  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
        for params in ({}, {"response_format": "url"}, {"stream": True}):
            await ours.draw(params=params, **cached)

    seen = await traced(story)
    hits = [it for it in seen.of_kind("server") if it["easel.cache.status"] == "HIT"]
    events = [event for it in seen.spans for event in it.events]
    assert len(hits) >= 4
    assert events.count("easel.cache.hit") == len(hits)
    assert events.count("easel.blob.stored") == 0
    assert len([it for it in seen.spans if it.name.startswith("POST /images")]) == (
        len(seen.of_kind("server")) - len(hits)
    )


async def test_a_picture_that_gets_a_url_of_ours_is_told() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        await ours.draw(params={"response_format": "url"}, **UP)

    seen = await traced(story, always(ANSWER))
    [span] = [it for it in seen.spans if it.events]
    assert (span.name, span.events) == ("generate_content", ("easel.blob.stored",))
    assert path_to(seen, span) == ["generate_content", "job"]


async def test_a_retry_leads_to_the_job_that_it_joins() -> None:
    async def story(ours: Gateway, fake: Provider) -> None:
        await left(ours, traceparent=PARENT)
        assert (await ours.draw("a cube", **UP, **AGAIN)).status == 200
        assert len(fake.requests) == 1

    seen = await traced(story, slow)
    job = seen.one("job")
    first, again = sorted(seen.of_kind("server"), key=lambda it: it.trace != TRACE)
    assert (job.parent, job.trace) == (first.id, TRACE)
    assert again.links == (job.id,)
    assert again.events == ("easel.job.joined",)
    assert (again["easel.job.id"], again["easel.job.joined"]) == (first["easel.job.id"], "running")
    assert first.links == ()
    assert again.trace != TRACE


async def test_a_job_of_another_process_is_told_by_its_event(tmp_path: Path) -> None:
    provided = SlowProvider()
    receiver = await fresh_receiver()
    tracing = f"tracing: {{endpoint: {receiver.url}}}\n"
    async with nodes(tmp_path, provided.reply, tracing) as (one, two):
        await leave(one, provided.started)
        again = asyncio.create_task(two.draw("a cube", **UP, **AGAIN))
        provided.release.set()
        assert (await again).status == 200
    seen = await receiver.got()
    [joined] = [it for it in seen.of_kind("server") if it["easel.job.joined"] == "elsewhere"]
    assert (joined.events, joined.links) == (("easel.job.joined",), ())
    assert len(seen.named("job")) == 1
    assert seen.one("job").parent != joined.id


async def test_a_job_ends_when_it_is_done_not_when_its_client_leaves() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        got = await ours.draw(prefer="respond-async", **UP)
        place = got.headers["location"]
        while (await ours.ask(method="GET", path=place)).status != 200:  # noqa: ASYNC110 - as clients do
            await asyncio.sleep(0.02)

    seen = await traced(story, slow)
    job = seen.one("job")
    ordered, *collecting = seen.of_kind("server")
    assert job.parent == ordered.id
    assert ordered.ended < job.ended
    assert [it.links for it in collecting] == [(job.id,)] * len(collecting)
    assert collecting
