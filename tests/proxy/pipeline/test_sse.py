"""OpenAI's events from providers with other events, or none."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from aiohttp import web

from adapters.contract import Answer, Image
from adapters.tools.sse import EventParser
from proxy.context import IN_FLIGHT
from proxy.jobs.keys import JOBS
from proxy.observability.access_log import ACCESS_LOG
from proxy.pipeline.converse import attach_usage
from proxy.pipeline.sse import with_keepalives
from tests.support.gateway import (
    B64,
    OURS,
    PATH,
    PNG,
    Answered,
    Gateway,
    Provider,
    gateway,
    gateway_to,
    json_reply,
    provider,
)
from tests.support.raw_http import connections
from tests.support.waiting import forever

UP = {"virtual_key": "up"}
COMPLETED = "image_generation.completed"


def keys(name: str, fake: Provider) -> str:
    stored = f"{{provider: {name}, api_key: test-key-0123456789, custom_host: {fake.url}}}"
    return f"virtual_keys: {{up: {stored}}}\n"


def events(got: Answered) -> list[dict[str, Any]]:
    """Return the data of each event, whose name is its type."""
    found = EventParser()
    read = [*found.feed(got.body), *found.flush()]
    assert all(event.json()["type"] == event.name for event in read)
    return [event.json() for event in read]


async def streamed(ours: Gateway, **params: Any) -> Answered:
    return await ours.draw(params={"stream": True, **params}, **UP)


async def png(request: web.Request) -> web.Response:
    del request
    return web.Response(body=PNG, content_type="image/png", headers={"seed": "1"})


async def test_a_provider_without_events_gives_one_for_each_finished_picture() -> None:
    async with provider(png) as fake, gateway(keys("stability-ai", fake)) as ours:
        got = await streamed(ours, model="stable-image-core", n=2)
        assert got.headers["content-type"].startswith("text/event-stream")
        told = events(got)
        assert [(it["type"], it["b64_json"], it["seed"]) for it in told] == [
            (COMPLETED, B64, 1)
        ] * 2
        assert (told[0]["size"], told[0]["output_format"]) == ("1x1", "png")
        assert told[0]["usage"]["total_tokens"] == 0
        assert "measured 1=1x1;png;70" in got.headers["x-easel-receipt"]


async def test_pictures_come_as_they_are_finished_and_silence_is_broken() -> None:
    gate = asyncio.Event()
    count = 0

    async def uneven(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if count == 1:
            await gate.wait()
        return await png(request)

    settings = "images: {comment_seconds: 0.02}\n"
    async with provider(uneven) as fake, gateway(settings + keys("stability-ai", fake)) as ours:
        asking = asyncio.ensure_future(streamed(ours, model="stable-image-core", n=2))
        await asyncio.sleep(0.2)
        gate.set()
        got = await asking
        assert len(events(got)) == 2
        assert b": keep-alive\n\n" in got.body


def failing_first(times: int, status: int = 500) -> Provider:
    fake = Provider()

    async def reply(request: web.Request) -> web.Response:
        if len(fake.requests) <= times:
            return json_reply({"name": "internal_error", "errors": ["no"]}, status)
        return await png(request)

    fake.reply = reply
    return fake


async def test_a_failure_before_the_first_event_is_a_plain_error() -> None:
    async with provider() as fake, gateway(keys("stability-ai", fake)) as ours:
        fake.reply = failing_first(9).reply
        got = await streamed(ours, model="stable-image-core")
        assert got.headers["content-type"] == "application/json"
        assert got.status == 502


async def test_a_failure_after_it_is_an_error_event_at_the_end() -> None:
    script = failing_first(1)
    async with provider() as fake, gateway(keys("stability-ai", fake)) as ours:
        script.requests, fake.reply = fake.requests, script.reply
        *pictures, last = events(await streamed(ours, model="stable-image-core", n=2))
        assert [it["type"] for it in pictures] == [COMPLETED]
        assert last["type"] == "error"
        assert last["error"].keys() == {"message", "type", "param", "code"}


SSE = {"content-type": "text/event-stream"}


def event_stream(*told: dict[str, Any] | str, then_cut: bool = False) -> Any:
    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=SSE)
        await response.prepare(request)
        for one in told:
            data = one.encode() if isinstance(one, str) else orjson.dumps(one)
            await response.write(b"data: %b\n\n" % data)
        if then_cut and request.transport:
            request.transport.abort()
        return response

    return reply


PREVIEW = {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": B64}
FINISHED = {
    "type": COMPLETED,
    "b64_json": B64,
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
ROUTER = {"model": "openai/gpt-image-2"}


async def test_a_providers_own_events_become_openais() -> None:
    script = event_stream(PREVIEW, FINISHED, "[DONE]")
    async with provider(script) as fake, gateway(keys("openrouter", fake)) as ours:
        first, second = events(await streamed(ours, **ROUTER))
        assert (first["type"], first["partial_image_index"]) == (PREVIEW["type"], 0)
        assert (second["type"], second["usage"]["output_tokens"]) == (COMPLETED, 2)
        assert second["created_at"]


async def test_an_event_that_tells_of_a_failure_first_is_a_plain_error() -> None:
    refused = {
        "type": "error",
        "error": {"message": "no", "code": 403, "metadata": {"reasons": []}},
    }
    async with provider(event_stream(refused)) as fake, gateway(keys("openrouter", fake)) as ours:
        got = await streamed(ours, **ROUTER)
        assert (got.status, got.error["code"]) == (400, "moderation_blocked")


@pytest.mark.parametrize("cut", [True, False])
async def test_events_that_break_off_end_with_an_error_event(*, cut: bool) -> None:
    script = event_stream(PREVIEW, then_cut=cut)
    async with provider(script) as fake, gateway(keys("openrouter", fake)) as ours:
        _, last = events(await streamed(ours, **ROUTER))
        assert last["type"] == "error"
        # Also without a cut: after a preview the image may have been paid for.
        assert last["error"]["code"] == "connection_lost"


async def test_an_answer_without_events_is_one_event() -> None:
    async def buffered(request: web.Request) -> web.Response:
        del request
        return json_reply({"data": [{"b64_json": B64}], "usage": {"prompt_tokens": 4}})

    async with provider(buffered) as fake, gateway(keys("openrouter", fake)) as ours:
        [only] = events(await streamed(ours, **ROUTER))
        assert (only["type"], only["usage"]["input_tokens"]) == (COMPLETED, 4)


async def test_what_a_provider_says_names_no_event_of_ours() -> None:
    async def odd(request: web.Request) -> web.Response:
        del request
        return json_reply({"data": [{"b64_json": B64, "type": "x\n\nevent: evil"}]})

    async with gateway_to(odd) as (ours, _):
        got = await ours.draw(params={"stream": True}, virtual_key="up")
        assert [it["type"] for it in events(got)] == [COMPLETED]
        assert b"evil" not in got.body


async def test_what_cannot_be_written_again_is_the_providers_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nested = "[" * 600 + "]" * 600

    async def deep(request: web.Request) -> web.Response:
        del request
        text = f'{{"data": [{{"b64_json": "{B64}", "odd": {nested}}}]}}'
        return web.Response(text=text, content_type="application/json")

    async with gateway_to(deep) as (ours, _):
        got = await ours.draw(params={"stream": True}, virtual_key="up")
        # It broke off before its client had any of it: that can still be said.
        assert (got.status, got.error["code"]) == (502, "bad_answer")
        assert caplog.records == []
        ours.app[ACCESS_LOG].flush()
        assert orjson.loads(ours.log.getvalue())["error"] == "bad_answer"


PICTURE, COUNT = Answer((Image(b64=B64),)), Answer((), usage={"total_tokens": 9})
EARLY = Answer((Image(b64=B64, partial_index=0),))


@pytest.mark.parametrize(
    ("told", "n", "usages"),
    [
        ([EARLY, PICTURE, COUNT], 1, [None, 9]),
        ([PICTURE, PICTURE, COUNT], 2, [None, 9]),
        ([PICTURE], 1, [None]),
        ([PICTURE, PICTURE], 1, [None, None]),
        ([COUNT], 1, []),
    ],
)
async def test_a_count_after_the_last_picture_stands_beside_it(
    told: list[Answer], n: int, usages: list[int | None]
) -> None:
    async def coming() -> AsyncIterator[Answer]:
        for one in told:
            yield one

    found = [
        answer.usage and answer.usage["total_tokens"] async for answer in attach_usage(coming(), n)
    ]
    assert found == usages


async def test_pictures_that_are_all_there_are_not_lost_with_their_count() -> None:
    uncounted = {name: it for name, it in FINISHED.items() if name != "usage"}
    script = event_stream(uncounted, then_cut=True)
    async with provider(script) as fake, gateway(keys("openrouter", fake)) as ours:
        [only] = events(await streamed(ours, **ROUTER))
        assert only["type"] == COMPLETED


async def test_an_event_that_repeats_our_key_does_not_show_it() -> None:
    script = event_stream({"error": {"message": "bad key test-key-0123456789", "code": 400}})
    async with provider(script) as fake, gateway(keys("openrouter", fake)) as ours:
        got = await streamed(ours, **ROUTER)
        assert "bad key ***" in got.error["message"]


@pytest.mark.parametrize("place", range(3))
async def test_a_picture_that_is_lost_is_an_error_event_beside_the_others(place: int) -> None:
    async def reply(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(body=PNG, status=404 if request.path == f"/{place}" else 200)
        urls = [f"{fake.url}/{number}" for number in range(3)]
        return json_reply({"status": "succeeded", "output": urls})

    async with provider(reply) as fake, gateway(keys("replicate", fake)) as ours:
        told = events(await streamed(ours, model="black-forest-labs/flux-schnell", n=3))
        assert [it["type"] for it in told] == [COMPLETED, COMPLETED, "error"]
        assert told[-1]["error"]["code"] == "picture_lost"


async def test_base64_with_line_breaks_breaks_no_event() -> None:
    script = event_stream({**FINISHED, "b64_json": base64.encodebytes(PNG).decode()})
    async with provider(script) as fake, gateway(keys("openrouter", fake)) as ours:
        assert events(await streamed(ours, **ROUTER))[0]["b64_json"] == B64


@pytest.mark.parametrize(
    ("kind", "model"),
    [("openrouter", ROUTER["model"]), ("stability-ai", "stable-image-core"), ("openai", "m")],
)
async def test_a_client_that_leaves_in_a_silence_leaves_nothing_behind(
    kind: str, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def hesitant(request: web.Request) -> web.StreamResponse:
        if kind == "stability-ai" and len(fake.requests) == 1:
            return await png(request)
        response = web.StreamResponse(headers=SSE)
        await response.prepare(request)
        await response.write(b"data: %b\n\n" % orjson.dumps(PREVIEW))
        await forever()
        return response

    settings = "images: {comment_seconds: 0.02}\njobs: {on_disconnect: cancel}\n"
    async with provider(hesitant) as fake, gateway(settings + keys(kind, fake)) as ours:
        headers = {**OURS, "x-portkey-virtual-key": "up"}
        asked = {"prompt": "a", "model": model, "stream": True}
        asked |= {"n": 2} if kind == "stability-ai" else {}
        async with ours.session.post(ours.url + PATH, json=asked, headers=headers) as got:
            await got.content.readany()
            got.close()
        async with asyncio.timeout(5):
            while ours.app[IN_FLIGHT] or ours.app[JOBS].running_count:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        gc.collect()
        await asyncio.sleep(0.01)
        ours.app[ACCESS_LOG].flush()
        line = orjson.loads(ours.log.getvalue())
        assert (line["status"], line["error"], connections(ours)) == (0, "client_gone", 0)
        assert caplog.records == []


async def test_what_several_pictures_cost_together_is_counted_once() -> None:
    async def several(request: web.Request) -> web.Response:
        del request
        counted = {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}
        return json_reply({"data": [{"b64_json": B64}] * 3, "usage": counted})

    async with provider(several) as fake, gateway(keys("openrouter", fake)) as ours:
        told = events(await streamed(ours, **ROUTER, n=3))
        assert [it["usage"]["total_tokens"] for it in told] == [0, 0, 9]


async def test_events_that_never_come_to_a_picture_are_not_waited_for_forever() -> None:
    async def humming(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=SSE)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b": still there\n\n")
                await asyncio.sleep(0.05)
        return response

    settings = "timeouts: {total: 1}\n"
    async with provider(humming) as fake, gateway(settings + keys("openrouter", fake)) as ours:
        async with asyncio.timeout(10):
            got = await streamed(ours, **ROUTER)
        assert (got.status, got.error["code"], connections(ours)) == (504, "timeout", 0)


async def test_silence_is_told_and_no_piece_is_lost() -> None:
    again = asyncio.Event()

    async def pieces() -> AsyncIterator[int]:
        yield 1
        await again.wait()
        yield 2

    seen: list[int | None] = []
    async for piece in with_keepalives(pieces(), 0.01):
        seen.append(piece)
        if seen.count(None) == 2:
            again.set()
    assert [it for it in seen if it] == [1, 2]
    assert seen.index(None) > 0


async def test_whoever_stops_listening_leaves_nothing_running() -> None:
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[int]:
        try:
            await forever()
            yield 1
        finally:
            ended.set()

    listening = with_keepalives(pieces(), 0.01)
    assert await anext(listening) is None
    await listening.aclose()
    await asyncio.wait_for(ended.wait(), 1)


async def test_whoever_has_stopped_listening_can_close_what_was_listened_to() -> None:
    async def pieces() -> AsyncGenerator[int, None]:
        await forever()
        yield 1

    heard = pieces()
    async with aclosing(with_keepalives(heard, 0.01)) as listening:
        assert await anext(listening) is None
    await heard.aclose()
