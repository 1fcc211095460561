"""Case 33: a provider answers without end, without floor, with another length, or with a page."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import resource

import aiohttp
import orjson
import pytest
from aiohttp import web

from tests.support.gateway import ANSWER, PNG, Reply, always, gateway_to
from tests.support.image_urls import drawn as picture_drawn
from tests.support.image_urls import pictures
from tests.support.raw_http import connections, gateway_at, wire

UP = {"virtual_key": "up"}
LIMITS = "limits: {reply_bytes: 1_000_000, image_bytes: 500_000}\ntimeouts: {total: 2}\n"
COUNTED = LIMITS + "images: {incomplete: fail}\n"
SLOW = "timeouts: {total: 0.2}\n"
BODY = orjson.dumps(ANSWER)


def plain(body: bytes, **headers: str) -> Reply:
    async def reply(request: web.Request) -> web.Response:
        del request
        return web.Response(body=body, headers={"content-type": "application/json", **headers})

    return reply


def endless(piece: bytes, kind: str) -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": kind})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(piece)
        return response

    return reply


ANSWERS = {
    "a page": plain(b"<html>" + b"x" * 300, **{"content-type": "text/html"}),
    "a page that says it is JSON": plain(b"<html>"),
    "nothing": plain(b""),
    "a list": plain(b"[]"),
    "JSON without a floor": plain(b'{"data":' + b"[" * 900_000),
    "numbers without end": plain(b'{"data":' + b"9" * 900_000 + b"}"),
    "a bomb": plain(gzip.compress(bytes(50_000_000)), **{"content-encoding": "gzip"}),
    "an odd compression": plain(BODY, **{"content-encoding": "br"}),
    "more than the limit": plain(b" " * 3_000_000),
    "no text": plain(b"\xff\xfe" * 400),
}


@pytest.mark.parametrize("reply", ANSWERS.values(), ids=ANSWERS.keys())
async def test_what_is_no_answer_is_a_failure_with_a_name(reply: Reply) -> None:
    async with gateway_to(reply, COUNTED) as (ours, _), asyncio.timeout(10):
        got = await ours.draw(params={"n": 2}, **UP)
        assert (got.status, got.error["type"]) == (502, "server_error")
        assert b"<html" not in got.body
        assert connections(ours) == 0


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "image/png"])
async def test_an_answer_without_end_is_neither_held_nor_waited_for(kind: str) -> None:
    piece = b'data: {"type":"x"}\n\n' * 5000 if "event" in kind else b" " * 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with gateway_to(endless(piece, kind), LIMITS) as (ours, _), asyncio.timeout(20):
        stream = "event" in kind
        with contextlib.suppress(aiohttp.ClientError):  # What had begun is cut.
            assert (await ours.draw(params={"stream": stream}, **UP)).status == 502
        assert connections(ours) == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 999999",
        b"content-length: 3",
        b"content-length: -1",
        b"content-length: 1\r\ncontent-length: 2",
        b"transfer-encoding: chunked\r\ncontent-length: 5",
        b"x: " + b"y" * 99_000,
    ],
    ids=range(6),
)
async def test_an_answer_of_another_length_is_never_a_whole_one(head: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + head + b"\r\n\r\n" + BODY
    async with wire(answer) as url, gateway_at(url, LIMITS) as ours, asyncio.timeout(10):
        got = await ours.draw(**UP)
        assert (got.status, got.error["type"]) == (502, "server_error")


async def test_a_failure_that_is_a_bomb_is_not_repeated() -> None:
    huge = {"error": {"message": "m" * 3_000_000, "type": "t"}}
    async with gateway_to(always(huge, 400)) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"], len(got.body) < 1000) == (502, "too_large", True)


async def test_an_answer_that_only_drips_comes_to_an_end() -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b": still there\n\n")
                await asyncio.sleep(0.02)
        return response

    async with gateway_to(dripping, SLOW) as (ours, _), asyncio.timeout(10):
        with contextlib.suppress(aiohttp.ClientError):  # What had begun is cut.
            got = await ours.draw(params={"stream": True}, **UP)
            assert got.status == 504 or b"event: error" in got.body
        assert connections(ours) == 0


async def test_a_picture_that_only_drips_comes_to_an_end() -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            await response.write(PNG + bytes(70_000))
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.02)
        return response

    async with pictures(dripping, limit=500_000, more=SLOW) as (ours, _), asyncio.timeout(10):
        with contextlib.suppress(aiohttp.ClientError):  # What had begun is cut.
            assert (await picture_drawn(ours)).status == 504
        assert connections(ours) == 0
