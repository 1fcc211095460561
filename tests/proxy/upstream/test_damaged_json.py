"""Replies in JSON with a byte order mark, NaN, half a surrogate pair or bad UTF-8, on the wire."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8

import orjson
import pytest
from aiohttp import web

from tests.support.gateway import B64, Reply, gateway, gateway_to, provider

UP = {"virtual_key": "up"}
ENTRY = b'{"b64_json": "' + B64.encode() + b'"'
FAULTS = {
    "byte order mark": BOM_UTF8 + b'{"created": 1, "data": [' + ENTRY + b"}]}",
    "NaN": b'{"created": 1, "data": [' + ENTRY + b', "score": NaN}], "took": Infinity}',
    "half a surrogate pair": b'{"data": [' + ENTRY + b', "revised_prompt": "a cube \\ud83d"}]}',
    "bad UTF-8": b'{"data": [' + ENTRY + b', "revised_prompt": "a cube \xff"}]}',
    "all": BOM_UTF8 + b'{"x": NaN, "data": [' + ENTRY + b', "y": "\\udc00\xff"}]}',
}
CUT = b'{"x": NaN, "data": [' + ENTRY


def replies(body: bytes, content_type: str = "application/json") -> Reply:
    async def reply(request: web.Request) -> web.Response:
        del request
        return web.Response(body=body, content_type=content_type)

    return reply


@pytest.mark.parametrize("adapter", ["openai", "lemonfox-ai"])
async def test_an_image_beside_a_fault_is_delivered_and_paid_once(adapter: str) -> None:
    for name, body in FAULTS.items():
        async with provider(replies(body)) as fake:
            stored = (
                f"{{provider: {adapter}, api_key: test-key-0123456789, custom_host: '{fake.url}'}}"
            )
            async with gateway(f"virtual_keys: {{up: {stored}}}\n") as ours:
                got = await ours.draw(**UP)
                assert got.status == 200, name
                assert got.json["data"][0]["b64_json"] == B64, name
                assert len(fake.requests) == 1, name


async def test_a_long_reply_with_a_byte_order_mark_reaches_the_client_without_it() -> None:
    body = BOM_UTF8 + b'{"data": [' + ENTRY + b', "words": "' + b"x" * 200_000 + b'"}]}'
    async with gateway_to(replies(body)) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.body[:1]) == (200, b"{")
        assert got.json["data"][0]["b64_json"] == B64


async def test_a_long_reply_with_a_fault_before_the_image_is_written_anew() -> None:
    long = b'"words": "' + b"x" * 200_000 + b'"'
    for name, fault in (("NaN", b"[NaN]"), ("Infinity", b"Infinity"), ("minus", b"[1,-Infinity]")):
        body = b'{"score": ' + fault + b', "data": [' + ENTRY + b", " + long + b"}]}"
        async with gateway_to(replies(body)) as (ours, fake):
            got = await ours.draw(**UP)
            assert got.status == 200, name
            assert orjson.loads(got.body)["data"][0]["b64_json"] == B64, name
            assert len(fake.requests) == 1, name


async def test_a_cut_reply_stays_an_error() -> None:
    async with gateway_to(replies(CUT)) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "connection_lost")
        assert got.headers["x-should-retry"] == "false"


async def test_values_behind_a_byte_order_mark_are_counted() -> None:
    body = BOM_UTF8 + b'{"data": [' + ENTRY + b'}], "x": [' + b"{}," * 100_000 + b"0]}"
    async with provider(replies(body)) as fake:
        stored = f"{{provider: lemonfox-ai, api_key: key-0123456789, custom_host: '{fake.url}'}}"
        async with gateway(f"virtual_keys: {{up: {stored}}}\n") as ours:
            got = await ours.draw(**UP)
            assert (got.status, got.error["code"]) == (502, "too_large")


async def test_an_event_with_a_fault_is_read_a_large_one_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threaded: list[str] = []
    to_thread = asyncio.to_thread

    async def noted(call: object, *args: object) -> object:
        threaded.append(getattr(call, "__qualname__", ""))
        return await to_thread(call, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", noted)
    for words, in_thread in ((b"\\ud83d", False), (b"\\ud83d" + b"x" * (1 << 20), True)):
        event = b'data: {"type": "image_generation.completed", "score": NaN, "words": "' + words
        body = event + b'", "b64_json": "' + B64.encode() + b'"}\n\n'
        threaded.clear()
        async with provider(replies(body, "text/event-stream")) as fake:
            stored = f"{{provider: byteplus, api_key: key-0123456789, custom_host: '{fake.url}'}}"
            async with gateway(f"virtual_keys: {{up: {stored}}}\n") as ours:
                got = await ours.draw(params={"model": "seedream-4-5-251128", "stream": True}, **UP)
                assert got.status == 200
                assert B64.encode() in got.body
                assert ("Event.json" in threaded) is in_thread
