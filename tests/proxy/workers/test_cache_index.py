"""The cache index in a supervisor, shared by several workers.

Common tests are in `tests/proxy/cache/test_index.py` and `test_common_index.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.errors import CacheUnavailable
from tests.support.cache_entries import RpcIndexUnderTest, entry, image_record, key, rpc_index

DIGEST = image_record(1).digest


@pytest.fixture
async def kept() -> AsyncIterator[RpcIndexUnderTest]:
    async with rpc_index() as ours:
        yield ours


async def test_without_the_supervisor_the_index_is_unavailable(kept: RpcIndexUnderTest) -> None:
    kept.index._connection.close()
    for call in (
        lambda: kept.index.get(key(1)),
        lambda: kept.index.put(key(1), entry(image_record(1))),
        lambda: kept.index.purge("me", None),
        kept.index.expire,
    ):
        with pytest.raises(CacheUnavailable):
            await call()


async def test_many_images_are_leased_in_batches(kept: RpcIndexUnderTest) -> None:
    await kept.index.release([image_record(number).digest for number in range(250)])
    await kept.advance(61)
    assert [len(await kept.index.expire()) for _ in range(4)] == [100, 100, 50, 0]
