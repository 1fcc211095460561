"""Reading bodies of requests: compression, depth, clients that leave."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from proxy.http.input_budget import exceeds_depth
from proxy.observability.access_log import ACCESS_LOG
from tests.support.gateway import KEY, PATH, gateway


@given(st.integers(1, 60), st.integers(1, 60))
def test_depth_is_counted_in_levels(depth: int, limit: int) -> None:
    tree: object = 1
    for _ in range(depth):
        tree = {"a": tree}
    assert exceeds_depth(tree, limit) == (depth > limit)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_is_not_compressed_as_it_says_is_400(encoding: str) -> None:
    async with gateway() as ours:
        got = await ours.ask(b'{"prompt": "x"}', content_encoding=encoding)
    assert (got.status, got.error["code"]) == (400, "invalid_json")


async def test_a_disconnect_in_mid_body_is_not_an_internal_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nx-portkey-api-key: {KEY}\r\n"
    async with gateway() as ours:
        _, client = await asyncio.open_connection("127.0.0.1", URL(ours.url).port)
        client.write(
            f"{head}content-length: 9\r\ncontent-type: application/json\r\n\r\n{{".encode()
        )
        await asyncio.sleep(0.05)
        client.close()
        await asyncio.sleep(0.05)
        ours.app[ACCESS_LOG].flush()
    assert orjson.loads(ours.log.getvalue())["error"] == "invalid_json"
    assert not caplog.records
