"""A provider's reply of a few kilobytes becomes many megabytes, or many thousands of values."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator

import orjson
import pytest
from aiohttp import web

from adapters.contract import Adapter, Answer, ImageCall
from adapters.http import ProviderReply
from proxy.cache import fill
from proxy.cache.store import CACHE
from proxy.pipeline import cached_attempt
from proxy.upstream import reply_limits
from proxy.upstream.reply_limits import MAX_VALUES, ValueCounter
from tests.support.gateway import B64, Reply, gateway, gateway_to, provider
from tests.support.waiting import until

UP = {"virtual_key": "up"}
ENTRY = orjson.dumps({"b64_json": B64})
EMPTY = b'{"data":[' + b"{}," * MAX_VALUES + ENTRY + b"]}"
MANY = {
    "empty objects": EMPTY,
    "empty lists": b'{"data":[' + b"[]," * MAX_VALUES + ENTRY + b"]}",
    "numbers": b'{"data":[' + ENTRY + b'],"usage":{"n":[' + b"1," * MAX_VALUES + b"1]}}",
    "members": b'{"data":[' + ENTRY + b"]" + b',"a":1' * MAX_VALUES + b"}",
    "a bare list": b"[" + b"0," * MAX_VALUES + b"0]",
    "behind strings": b'{"a":"\\\\\\"","data":[' + b"{}," * MAX_VALUES + ENTRY + b"]}",
}


def body_of(body: bytes, **headers: str) -> Reply:
    """Reply with these bytes as JSON."""

    async def reply(request: web.Request) -> web.Response:
        del request
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, headers={"content-type": "application/json", **named})

    return reply


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of the replies that adapters parse."""
    sizes: list[int] = []
    parse = ProviderReply.json

    def counted(reply: ProviderReply) -> object:
        sizes.append(len(reply.body))
        return parse(reply)

    monkeypatch.setattr(ProviderReply, "json", counted)
    return iter([sizes])


@pytest.mark.parametrize("adapter", ["lemonfox-ai", "replicate", "openrouter", "fal-ai"])
@pytest.mark.parametrize("body", MANY.values(), ids=MANY.keys())
async def test_a_reply_with_too_many_values_is_refused_unparsed(
    body: bytes, adapter: str, parsed: Iterator[list[int]]
) -> None:
    sizes = next(parsed)
    async with provider(body_of(body)) as fake:
        stored = f"{{provider: {adapter}, api_key: test-key-0123456789, custom_host: '{fake.url}'}}"
        async with gateway(f"virtual_keys: {{up: {stored}}}\n") as ours:
            got = await ours.draw(params={"model": "a/b"}, **UP)
            assert (got.status, got.error["code"]) == (502, "too_large")
    assert not [size for size in sizes if size > MAX_VALUES]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate"])
async def test_a_compressed_reply_is_bounded_by_its_ratio_from_the_first_byte(
    encoding: str,
) -> None:
    packed = gzip.compress(b'{"data":[' + b"{}," * 20_000 + ENTRY + b"]}")
    assert len(packed) < 600
    async with gateway_to(body_of(packed, content_encoding=encoding)) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "too_large")


async def test_compressed_values_are_counted_after_decompression() -> None:
    numbers = b",".join(b"%d" % (number * 7919 % 100_003) for number in range(MAX_VALUES + 1))
    packed = gzip.compress(b'{"data":[' + ENTRY + b'],"usage":{"n":[' + numbers + b"]}}")
    async with gateway_to(body_of(packed, content_encoding="gzip")) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "too_large")


async def test_an_event_with_too_many_values_is_refused() -> None:
    async def events(request: web.Request) -> web.Response:
        del request
        body = b'data: {"x":[' + b"{}," * MAX_VALUES + b"{}]}\n\n"
        return web.Response(body=body, content_type="text/event-stream")

    async with provider(events) as fake:
        stored = (
            f"{{provider: openrouter, api_key: test-key-0123456789, custom_host: '{fake.url}'}}"
        )
        async with gateway(f"virtual_keys: {{up: {stored}}}\n") as ours:
            got = await ours.draw(params={"model": "a/b", "stream": True}, **UP)
            assert (got.status, got.error["code"]) == (502, "too_large")


async def test_values_are_counted_in_short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []
    count = ValueCounter.add

    def noted(counter: ValueCounter, chunk: bytes) -> None:
        turns.append(len(chunk))
        count(counter, chunk)

    monkeypatch.setattr(ValueCounter, "add", noted)
    await reply_limits.check_values(b'{"prompt":"' + b"a,{[" * 1_000_000 + b'"}')
    assert max(turns) <= 256 * 1024
    assert sum(turns) == 4_000_013


async def test_a_large_reply_is_parsed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threaded: list[object] = []
    to_thread = asyncio.to_thread

    async def noted(call: object, *args: object) -> object:
        threaded.append(getattr(call, "__func__", call))
        return await to_thread(call, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", noted)
    body = b'{"data":[' + ENTRY + b'],"note":"' + b"n " * 600_000 + b'"}'
    async with provider(body_of(body)) as fake:
        stored = (
            f"{{provider: lemonfox-ai, api_key: test-key-0123456789, custom_host: '{fake.url}'}}"
        )
        async with gateway(f"virtual_keys: {{up: {stored}}}\n") as ours:
            assert (await ours.draw(**UP)).status == 200
    assert ProviderReply.json in threaded


async def test_commas_and_brackets_in_a_long_text_are_no_values() -> None:
    await reply_limits.check_values(orjson.dumps({"prompt": '{[,"\\' * MAX_VALUES}))
    await reply_limits.check_values(b"\x89PNG" + b"{[," * MAX_VALUES)


async def test_a_relayed_reply_with_too_many_values_is_not_parsed_for_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[int] = []
    parse = fill.parse_recorded

    def noted(adapter: Adapter, call: ImageCall, content_type: str, body: bytes) -> list[Answer]:
        parsed.append(len(body))
        return parse(adapter, call, content_type, body)

    monkeypatch.setattr(cached_attempt, "parse_recorded", noted)
    config = orjson.dumps({"virtual_key": "up", "cache": {"mode": "simple"}}).decode()
    short = b'{"data":[' + ENTRY + b'],"note":"' + b"n " * MAX_VALUES + b'"}'
    for body in (EMPTY, short):
        async with gateway_to(body_of(body)) as (ours, _):
            got = await ours.draw(config=config)
            assert (got.status, got.body) == (200, body)
            tasks = ours.app[CACHE]._tasks
            await until(lambda: len(tasks) == 1)  # noqa: B023 - awaited at once
    assert parsed == [len(short)]
