"""The cache's index in a supervisor: what only matters where several workers share it.

What it promises besides stands in `tests/proxy/cache/test_index.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.errors import CacheAway
from proxy.workers.cache_index import WorkersIndex
from tests.proxy.cache.kept import KeptByWorkers, entry, kept_by_workers, key, picture

DIGEST = picture(1).digest


@pytest.fixture
async def kept() -> AsyncIterator[KeptByWorkers]:
    async with kept_by_workers() as ours:
        yield ours


async def test_a_picture_lies_for_a_while_after_its_last_entry(kept: KeptByWorkers) -> None:
    await kept.index.put(key(1), entry(picture(1)))
    assert await kept.index.drop(key(1)) == []
    await kept.wait(59)
    assert await kept.index.tidy() == []
    await kept.wait(2)
    assert await kept.index.tidy() == [DIGEST]


async def test_what_is_taken_hold_of_meanwhile_stays(kept: KeptByWorkers) -> None:
    await kept.index.put(key(1), entry(picture(1)))
    await kept.index.drop(key(1))
    await kept.wait(59)
    assert not await kept.index.announce(DIGEST)
    await kept.wait(59)
    assert await kept.index.tidy() == []
    await kept.index.put(key(2), entry(picture(1)))
    await kept.wait(600)
    assert await kept.index.tidy() == []


async def test_what_was_announced_and_never_came_to_be_held_goes(kept: KeptByWorkers) -> None:
    assert not await kept.index.announce(DIGEST)
    await kept.wait(61)
    assert await kept.index.tidy() == [DIGEST]


async def test_one_worker_gets_a_picture_to_delete_and_another_if_it_fails(
    kept: KeptByWorkers,
) -> None:
    other = WorkersIndex(kept.index._line, "workers", kept.clock)
    await kept.index.free([DIGEST])
    await kept.wait(61)
    assert await kept.index.tidy() == [DIGEST]
    assert await other.tidy() == []
    await kept.wait(601)
    assert await other.tidy() == [DIGEST]
    await other.deleted([DIGEST])
    await kept.wait(601)
    assert await kept.index.tidy() == []


async def test_a_picture_that_is_being_deleted_can_be_kept_only_afterwards(
    kept: KeptByWorkers,
) -> None:
    assert not await kept.index.announce(DIGEST)
    await kept.wait(61)
    assert await kept.index.tidy() == [DIGEST]
    with pytest.raises(CacheAway):
        await kept.index.announce(DIGEST)
    # Whoever announced it before it went, and was slow.
    await kept.index.put(key(1), entry(picture(1), picture(2)))
    assert await kept.index.get(key(1)) is None
    await kept.index.deleted([DIGEST])
    assert await kept.freed([]) == {DIGEST, picture(2).digest}
    assert not await kept.index.announce(DIGEST)


async def test_without_the_supervisor_nothing_is_known(kept: KeptByWorkers) -> None:
    kept.index._line.close()
    for call in (
        lambda: kept.index.get(key(1)),
        lambda: kept.index.put(key(1), entry(picture(1))),
        lambda: kept.index.forget("me", None),
        kept.index.tidy,
    ):
        with pytest.raises(CacheAway):
            await call()


async def test_more_is_given_to_delete_than_fits_into_one_answer(kept: KeptByWorkers) -> None:
    await kept.index.free([picture(number).digest for number in range(250)])
    await kept.wait(61)
    assert [len(await kept.index.tidy()) for _ in range(4)] == [100, 100, 50, 0]
