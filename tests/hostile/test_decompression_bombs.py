"""Bodies that grow when they are decompressed: neither memory nor time is theirs to take."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest

from tests.support.gateway import gateway, gateway_to

UP = {"virtual_key": "up"}
MB = 1 << 20


def bomb(megabytes: int, wbits: int) -> bytes:
    """Compress so many megabytes of spaces, without ever holding them."""
    packing = zlib.compressobj(1, zlib.DEFLATED, wbits)
    pieces = [packing.compress(b" " * MB) for _ in range(megabytes)]
    return b"".join([*pieces, packing.flush()])


@contextmanager
def holding_at_most(size: int) -> Iterator[None]:
    """Assert that a block's own memory stays below a number of bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_a_bomb_is_refused_before_it_is_unpacked(encoding: str, wbits: int) -> None:
    sent = bomb(200, wbits)
    async with gateway_to() as (ours, fake):
        with holding_at_most(16 * MB):
            got = await ours.ask(sent, content_encoding=encoding, **UP)
        assert (got.status, got.error["code"]) == (413, "request_too_large")
        assert not fake.requests


async def test_the_ratio_is_held_below_the_size_limit() -> None:
    padded = gzip.compress(b'{"prompt": "x"}' + b" " * MB)
    async with gateway_to(more="limits: {body_ratio: 20}") as (ours, _):
        got = await ours.ask(padded, content_encoding="gzip", **UP)
    assert (got.status, got.error["code"]) == (413, "request_too_large")


async def test_an_honest_body_may_be_compressed() -> None:
    text = os.urandom(300_000).hex()
    body = orjson.dumps({"prompt": "x", "image": text})
    async with gateway_to() as (ours, fake):
        got = await ours.ask(gzip.compress(body), content_encoding="gzip", **UP)
        assert got.status == 200
        assert fake.sent == {"prompt": "x", "image": text}


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "identity, gzip", "GZIP"])
async def test_no_other_encoding_opens_a_way_past_the_limits(encoding: str) -> None:
    sent = gzip.compress(bomb(200, 31))
    async with gateway() as ours:
        with holding_at_most(16 * MB):
            got = await ours.ask(sent, content_encoding=encoding)
    assert got.status in {413, 415}


async def test_nothing_is_unpacked_for_a_stranger() -> None:
    sent = bomb(200, 31)
    async with gateway() as ours:
        with holding_at_most(16 * MB):
            got = await ours.ask(sent, content_encoding="gzip", api_key="")
    assert got.status == 401
