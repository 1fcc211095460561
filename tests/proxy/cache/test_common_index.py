"""Indexes shared by several processes: images that another process may be reading or committing.

Run with Redis and with the supervisor of workers. Tests common to all indexes are in `test_index`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.errors import CacheUnavailable
from tests.support.cache_entries import (
    RedisIndexUnderTest,
    RpcIndexUnderTest,
    entry,
    image_record,
    index_in,
    key,
    rpc_index,
)
from tests.support.redis import RedisServer

DIGEST = image_record(1).digest
Common = RedisIndexUnderTest | RpcIndexUnderTest


@pytest.fixture(params=["redis", "workers"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Common]:
    if request.param == "workers":
        async with rpc_index() as by_workers:
            yield by_workers
        return
    server: RedisServer = request.getfixturevalue("redis")
    async with index_in(server) as there:
        assert isinstance(there, RedisIndexUnderTest)
        yield there


async def test_an_image_is_kept_for_a_grace_period_after_its_last_entry(kept: Common) -> None:
    await kept.index.put(key(1), entry(image_record(1)))
    assert await kept.index.remove(key(1)) == []
    await kept.advance(59)
    assert await kept.index.expire() == []
    await kept.advance(2)
    assert await kept.index.expire() == [DIGEST]


async def test_an_image_referenced_again_in_the_grace_period_stays(kept: Common) -> None:
    await kept.index.put(key(1), entry(image_record(1)))
    await kept.index.remove(key(1))
    await kept.advance(59)
    assert not await kept.index.reserve(DIGEST)
    await kept.advance(59)
    assert await kept.index.expire() == []
    await kept.index.put(key(2), entry(image_record(1)))
    await kept.advance(600)
    assert await kept.index.expire() == []


async def test_a_reserved_image_without_an_entry_is_deleted(kept: Common) -> None:
    assert not await kept.index.reserve(DIGEST)
    await kept.advance(61)
    assert await kept.index.expire() == [DIGEST]


async def test_an_image_is_leased_to_one_process_and_to_another_if_that_fails(kept: Common) -> None:
    other = kept.another()
    await kept.index.release([DIGEST])
    await kept.advance(61)
    assert await kept.index.expire() == [DIGEST]
    assert await other.expire() == []
    await kept.advance(601)
    assert await other.expire() == [DIGEST]
    await other.confirm_deleted([DIGEST])
    await kept.advance(601)
    assert await kept.index.expire() == []


async def test_an_image_that_is_being_deleted_can_be_stored_only_afterwards(kept: Common) -> None:
    assert not await kept.index.reserve(DIGEST)
    await kept.advance(61)
    assert await kept.index.expire() == [DIGEST]
    with pytest.raises(CacheUnavailable):
        await kept.index.reserve(DIGEST)
    # Whoever announced it before it went, and was slow.
    await kept.index.put(key(1), entry(image_record(1), image_record(2)))
    assert await kept.index.get(key(1)) is None
    await kept.index.confirm_deleted([DIGEST])
    assert await kept.orphaned([]) == {DIGEST, image_record(2).digest}
    assert not await kept.index.reserve(DIGEST)
