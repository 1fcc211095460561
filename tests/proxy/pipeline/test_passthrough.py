"""Relayed responses: complete, forwarded as they arrive, and never cut off unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from base64 import b64encode

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.jobs.keys import JOBS
from proxy.pipeline.passthrough import measure_first_image
from proxy.upstream.client import PEEK_LIMIT
from tests.support.gateway import B64, OURS, PATH, PNG, Gateway, always, gateway_to, let_go
from tests.support.raw_http import connections

UP = {"virtual_key": "up"}
LARGE = b'{"created":1,"data":[{"b64_json":"' + b"A" * (3 * PEEK_LIMIT) + b'"}],"unknown":"kept"}'
FINISHED = b'event: image_generation.completed\ndata: {"b64_json":"AAAA"}\n\n'
EVENTS = b'event: image_generation.completed\ndata: {"b64_json":"' + b"A" * 2_000_000 + b'"}\n\n'


async def large(request: web.Request) -> web.Response:
    del request
    return web.Response(body=LARGE, content_type="application/json", headers={"x-request-id": "r"})


def _asking(ours: Gateway, **params: object) -> aiohttp.client._RequestContextManager:
    headers = {**OURS, "x-portkey-virtual-key": "up"}
    return ours.session.post(ours.url + PATH, json={"prompt": "a", **params}, headers=headers)


async def test_a_large_answer_goes_through_byte_for_byte() -> None:
    async with gateway_to(large) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.body) == (200, LARGE)
        assert got.headers["content-length"] == str(len(LARGE))
        assert got.headers["x-request-id"] == "r"


async def test_nothing_that_went_to_disk_is_held_while_the_rest_is_waited_for() -> None:
    go_on = asyncio.Event()

    async def in_two(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(LARGE)
        await go_on.wait()
        return response

    async with gateway_to(in_two) as (ours, _), _asking(ours) as got:
        assert await got.content.readexactly(len(LARGE)) == LARGE
        job = ours.app[JOBS].get_for_caller("test", got.headers["x-easel-job"])
        assert job
        parts = list(job.recording._parts)
        await job.recording.spill()
        await let_go(parts)
        go_on.set()


async def test_a_small_answer_goes_through_byte_for_byte_too() -> None:
    odd = {"data": [{"b64_json": B64, "x": 1}], "created": 1, "new": None}
    async with gateway_to(always(odd)) as (ours, _):
        assert (await ours.draw(**UP)).body == orjson.dumps(odd)


async def test_a_success_that_holds_an_error_is_no_success() -> None:
    refused = {"error": {"message": "no", "type": "x", "code": "moderation_blocked"}}
    async with gateway_to(always(refused)) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (400, "moderation_blocked")


async def test_an_error_of_unknown_length_is_found_in_a_success_too() -> None:
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"error": {"message": "no", ')
        await response.write(b'"type": "x", "code": "moderation_blocked"}}')
        return response

    async with gateway_to(chunked) as (ours, _):
        assert (await ours.draw(**UP)).status == 400


async def test_a_large_answer_of_unknown_length_is_relayed_whole() -> None:
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        for start in range(0, len(LARGE), 10_000):
            await response.write(LARGE[start : start + 10_000])
        return response

    async with gateway_to(chunked) as (ours, _):
        assert (await ours.draw(**UP)).body == LARGE


async def test_events_go_through_as_they_come() -> None:
    waiting = asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: first\ndata: {}\n\n")
        await waiting.wait()
        await response.write(EVENTS)
        return response

    async with gateway_to(events) as (ours, _), _asking(ours, stream=True) as got:
        assert await got.content.readany() == b"event: first\ndata: {}\n\n"
        waiting.set()
        assert await got.read() == EVENTS


async def test_an_answer_that_is_cut_never_ends_cleanly() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = len(LARGE)
        await response.prepare(request)
        await response.write(LARGE[: 2 * PEEK_LIMIT])
        assert request.transport
        request.transport.abort()
        return response

    async with gateway_to(cut) as (ours, _), _asking(ours) as got:
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.read()


async def test_an_answer_that_announces_too_much_is_none() -> None:
    async with gateway_to(large, "limits: {reply_bytes: 99999}\n") as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "too_large")


@pytest.mark.parametrize("bound", ["limits: {reply_bytes: 99999}", "timeouts: {total: 0.3}"])
async def test_an_answer_without_end_is_cut(bound: str) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b'data: {"type":"ping"}\n\n' * 99)
            await asyncio.sleep(0.01)

    async with gateway_to(endless, f"{bound}\n") as (ours, _), _asking(ours, stream=True) as got:
        with contextlib.suppress(aiohttp.ClientPayloadError):
            last = (await asyncio.wait_for(got.read(), 10)).split(b"\n\n")[-2]
            assert last.startswith(b"event: error")
        assert not connections(ours)


@pytest.mark.parametrize("body", [b"", b"<html>Sorry</html>", b'{"error":{"message":"No."}}'])
async def test_a_stream_without_an_event_is_no_success(body: bytes) -> None:
    async def nothing(request: web.Request) -> web.Response:
        del request
        return web.Response(body=body, content_type="text/event-stream")

    async with gateway_to(nothing) as (ours, _):
        got = await ours.draw(params={"stream": True}, **UP)
        assert got.status >= 400
        assert got.error["message"]


async def test_the_head_of_a_stream_does_not_wait_for_its_first_picture() -> None:
    drawn = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await drawn.wait()
        await response.write(FINISHED)
        return response

    async with gateway_to(slow) as (ours, _):
        body, headers = {"prompt": "a", "stream": True}, {**OURS, "x-portkey-virtual-key": "up"}
        async with ours.session.post(ours.url + PATH, json=body, headers=headers) as got:
            assert (got.status, drawn.is_set()) == (200, False)
            drawn.set()
            assert await got.read() == FINISHED


async def test_events_that_are_cut_never_end_cleanly() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: first\n")
        assert request.transport
        request.transport.abort()
        return response

    async with gateway_to(cut) as (ours, _), _asking(ours, stream=True) as got:
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.read()


async def test_a_client_that_leaves_harms_nobody_else() -> None:
    async with gateway_to(large) as (ours, _):
        async with _asking(ours) as got:
            got.close()
        assert (await ours.draw(**UP)).status == 200


async def test_the_first_picture_is_measured_while_nothing_has_gone() -> None:
    picture = b64encode(PNG + bytes(3 * PEEK_LIMIT)).decode()
    for body in ({"data": [{"b64_json": picture}]}, {"data": [{"b64_json": B64}]}):
        async with gateway_to(always(body)) as (ours, _):
            got = await ours.draw(params={"size": "1024x1024"}, **UP)
            receipt = got.headers["x-easel-receipt"]
            assert receipt.startswith("measured 1=1x1;png")
            assert receipt.endswith("asked 1=1024x1024")


@pytest.mark.parametrize(
    "head", [b"", b'{"data":[{"url":"https://a.test"}]}', b'"b64_json":"AAAA"']
)
def test_what_shows_no_picture_is_not_measured(head: bytes) -> None:
    assert measure_first_image(head) is None


async def test_silence_between_events_is_broken_by_comments_and_within_one_it_is_not() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        first, *rest = FINISHED.split(b"ata")
        for piece in (b"event: a\ndata: {}\n\n", first, b"ata" + b"ata".join(rest)[:-1], b"\n"):
            await response.write(piece)
            await asyncio.sleep(0.15)
        return response

    async with gateway_to(slow, "images: {comment_seconds: 0.04}") as (ours, _):
        got = (await ours.draw(params={"stream": True}, **UP)).body
        assert got.endswith(b": keep-alive\n\n")
        plain = got.replace(b": keep-alive\n\n", b"")
        assert plain == b"event: a\ndata: {}\n\n" + FINISHED


@pytest.mark.parametrize("packed", [False, True])
async def test_events_of_an_announced_length_keep_their_end_after_comments(*, packed: bool) -> None:
    events = b"event: a\ndata: {}\n\n", FINISHED
    compressor = zlib.compressobj(wbits=31)
    pieces = list(events)
    if packed:
        pieces = [compressor.compress(it) + compressor.flush(zlib.Z_SYNC_FLUSH) for it in events]
        pieces[-1] += compressor.flush()

    async def announced(request: web.Request) -> web.StreamResponse:
        headers = {"content-type": "text/event-stream", "etag": '"e"', "digest": "d"}
        if packed:
            headers["content-encoding"] = "gzip"
        response = web.StreamResponse(headers=headers)
        response.content_length = sum(map(len, pieces))
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.08)
        return response

    async with gateway_to(announced, "images: {comment_seconds: 0.02}") as (ours, _):
        got = await ours.draw(params={"stream": True}, **UP)
        assert b": keep-alive\n\n" in got.body
        assert got.body.replace(b": keep-alive\n\n", b"") == b"".join(events)
        assert not {"content-length", "content-encoding", "etag", "digest"} & {
            it.lower() for it in got.headers
        }
