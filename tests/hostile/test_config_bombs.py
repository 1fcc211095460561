"""Case 10: a config, or a body, that costs more to read than it cost to send."""

from __future__ import annotations

import time

import aiohttp
import pytest

from tests.support.gateway import Gateway, gateway_to

LEAF = '{"virtual_key":"up"}'


def nested(depth: int) -> str:
    return '{"targets":[' * depth + LEAF + "]}" * depth


def wide(count: int, depth: int) -> str:
    level = LEAF
    for _ in range(depth):
        level = '{"targets":[' + ",".join([level] * count) + "]}"
    return level


BOMBS = {
    "deep brackets": "[" * 10_000,
    "deep objects": '{"a":' * 4_000,
    "deep targets": nested(9),
    "very deep targets": nested(2_000),
    "wide targets": wide(101, 1),
    "many targets": wide(11, 3),
    "a huge integer": '{"virtual_key":"up","retry":{"attempts":%s}}' % ("9" * 30_000),
    "a huge number": '{"virtual_key":"up","request_timeout":1e999}',
    "a number that is none": '{"virtual_key":"up","weight":NaN}',
    "a key twice": '{"virtual_key":"up","virtual_key":"other"}',
    "half a pair": '{"virtual_key":"\\ud800"}',
    "many retries": '{"virtual_key":"up","retry":{"attempts":1000000}}',
    "many keys": "{" + ",".join(f'"k{i}":"v"' for i in range(2000)) + "}",
    "more than 32 KB": '{"virtual_key":"up","metadata":"%s"}' % ("x" * 33_000),
    "a query that goes back": (
        '{"strategy":{"mode":"conditional","conditions":[{"query":{"params.prompt":'
        '{"$regex":"(a*)*%s"}},"then":"t"}]},"targets":[{"name":"t","virtual_key":"up"}]}'
    )
    % ("(a+)+" * 1000),
}


async def refused_soon(ours: Gateway, text: str) -> None:
    began = time.process_time()
    got = await ours.draw(config=text)
    assert (got.status, got.error["code"]) == (400, "invalid_config")
    assert time.process_time() - began < 3
    assert len(got.body) < 40_000


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
async def test_a_config_that_is_a_bomb_is_refused_soon(text: str) -> None:
    async with gateway_to() as (ours, fake):
        await refused_soon(ours, text)
        assert not fake.requests


async def test_a_header_of_megabytes_is_no_request() -> None:
    async with gateway_to() as (ours, fake):
        try:
            got = await ours.draw(config='{"a":"' + "x" * (8 << 20) + '"}')
            assert got.status in (400, 431)
        except aiohttp.ClientError:
            pass  # it was cut off while it was still speaking
        assert not fake.requests
        assert (await ours.draw(virtual_key="up")).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt":' + b"[" * 9_000,
        b'{"prompt":"p","x":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"prompt":"p","n":NaN}',
        b'{"prompt":"p","x":1e999}',
        b'{"prompt":"\\ud800"}',
    ],
    ids=range(5),
)
async def test_a_body_that_is_a_bomb_is_refused_soon(body: bytes) -> None:
    async with gateway_to() as (ours, fake):
        began = time.process_time()
        got = await ours.ask(body, virtual_key="up")
        assert (got.status, got.error["code"], fake.requests) == (400, "invalid_json", [])
        assert time.process_time() - began < 3


async def test_a_good_config_may_be_as_deep_as_the_limit() -> None:
    async with gateway_to() as (ours, _):
        assert (await ours.draw(config=nested(7))).status == 200
