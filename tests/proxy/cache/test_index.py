"""Common tests of all cache indexes: lifetimes, limits, eviction order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cache_entries import (
    DISK,
    MEMORY,
    IndexUnderTest,
    entry,
    image_record,
    index_in,
    key,
    rpc_index,
)
from tests.support.redis import RedisServer

Keeping = Callable[..., AbstractAsyncContextManager[IndexUnderTest]]


@pytest.fixture(params=["memory", "redis", "workers"])
def keeping(request: pytest.FixtureRequest) -> Keeping:
    if request.param == "workers":
        return rpc_index
    here = request.param == "memory"
    return partial(index_in, None if here else request.getfixturevalue("redis"))


async def test_each_entry_has_its_own_lifetime(keeping: Keeping) -> None:
    async with keeping() as kept:
        await kept.index.put(key(1), entry(image_record(1), expires=kept.now() + 60))
        await kept.index.put(key(2), entry(image_record(2), expires=kept.now() + 600))
        await kept.advance(61)
        assert await kept.index.get(key(1)) is None
        found = await kept.index.get(key(2))
        assert found
        assert kept.now() + 500 < found.expires < kept.now() + 540
        assert await kept.orphaned([]) == {image_record(1).digest}
        assert await kept.orphaned([]) == set()


async def test_a_shared_image_counts_once_and_is_orphaned_with_its_last_entry(
    keeping: Keeping,
) -> None:
    async with keeping() as kept:
        for number in (1, 2):
            await kept.index.put(key(number), entry(image_record(7, 500), image_record(7, 500)))
        assert (await kept.usage())[1:] == (500, {image_record(7).digest})
        assert await kept.orphaned(await kept.index.remove(key(1))) == set()
        assert await kept.index.reserve(image_record(7).digest)
        assert await kept.orphaned(await kept.index.release([image_record(7).digest])) == set()
        assert await kept.orphaned(await kept.index.remove(key(2))) == {image_record(7).digest}
        assert await kept.usage() == (0, 0, set())
        assert not await kept.index.reserve(image_record(7).digest)
        assert await kept.orphaned(await kept.index.release([image_record(7).digest])) == {
            image_record(7).digest
        }


async def test_a_new_entry_replaces_the_one_with_the_same_key(keeping: Keeping) -> None:
    async with keeping() as kept:
        await kept.index.put(key(1), entry(image_record(1), image_record(2)))
        freed = await kept.index.put(key(1), entry(image_record(2), image_record(3)))
        assert await kept.orphaned(freed) == {image_record(1).digest}


async def test_the_cheapest_entry_is_evicted_first(keeping: Keeping) -> None:
    async with keeping(MEMORY * 10) as kept:
        await kept.index.put(key(0), entry(image_record(0, 5000), dollars=1))
        for number in range(1, 20):
            await kept.index.put(key(number), entry(image_record(number, 1000), dollars=0.001))
        assert await kept.index.get(key(0))
        assert await kept.index.get(key(19))
        assert await kept.index.get(key(1)) is None


async def test_an_unused_expensive_entry_is_evicted_eventually(keeping: Keeping) -> None:
    async with keeping(MEMORY * 10) as kept:
        await kept.index.put(key(0), entry(image_record(0, 1000), dollars=0.01))
        for number in range(1, 200):
            await kept.index.put(key(number), entry(image_record(number, 1000), dollars=0.005))
        assert await kept.index.get(key(0)) is None


async def test_a_used_entry_stays(keeping: Keeping) -> None:
    async with keeping(MEMORY * 10) as kept:
        for number in range(200):
            await kept.index.put(key(number), entry(image_record(number, 1000)))
            assert await kept.index.get(key(0))


async def test_an_entry_above_the_limits_is_not_kept_and_evicts_nothing(keeping: Keeping) -> None:
    async with keeping() as kept:
        await kept.index.put(key(1), entry(image_record(1)))
        freed = await kept.index.put(key(2), entry(image_record(2, DISK + 1)))
        assert await kept.orphaned(freed) == {image_record(2).digest}
        large = {"text": "x" * MEMORY}
        freed = await kept.index.put(key(3), entry(image_record(3), extra=large))
        assert await kept.orphaned(freed) == {image_record(3).digest}
        assert await kept.index.get(key(1))


async def test_an_entry_without_json_encoding_is_not_kept(keeping: Keeping) -> None:
    async with keeping() as kept:
        odd = entry(image_record(1), extra={"a": object()})
        assert await kept.orphaned(await kept.index.put(key(1), odd)) == {image_record(1).digest}


async def test_a_purge_removes_only_the_callers_entries(keeping: Keeping) -> None:
    async with keeping() as kept:
        owners = [("a", ""), ("a", "x"), ("b", "x")]
        for number, (caller, namespace) in enumerate(owners):
            await kept.index.put(
                key(number), entry(image_record(number), caller=caller, namespace=namespace)
            )
        for owner, number in ((("a", "x"), 1), (("a", None), 0)):
            count, freed = await kept.index.purge(*owner)
            assert (count, await kept.orphaned(freed)) == (1, {image_record(number).digest})
        assert await kept.index.purge("c", None) == (0, [])
        assert await kept.index.get(key(2))


async def test_an_index_with_zero_limits_keeps_nothing(keeping: Keeping) -> None:
    for bounds in ((0, DISK), (MEMORY, 0)):
        async with keeping(*bounds) as kept:
            freed = await kept.index.put(key(1), entry(image_record(1)))
            assert await kept.orphaned(freed) == {image_record(1).digest}


PICTURES = st.lists(
    st.integers(0, 12).map(lambda number: image_record(number, 1 + number * 397 % 4000)), max_size=4
)
KEYS = st.integers(0, 6).map(key)
STEP = st.one_of(
    st.tuples(
        st.just("put"),
        KEYS,
        PICTURES,
        st.floats(0, 1),
        st.integers(0, 9),
        st.integers(0, 6000),
    ),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("drop"), KEYS),
    st.tuples(st.just("forget"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("wait"), st.integers(1, 5)),
)
STEPS = st.lists(STEP, max_size=40)


@given(steps=STEPS)
async def test_the_limits_hold_under_random_operations(steps: list[tuple[Any, ...]]) -> None:
    await check(None, steps)


@settings(deadline=None, max_examples=30)
@given(steps=STEPS)
async def test_the_limits_hold_in_redis_too(
    one_redis: RedisServer, steps: list[tuple[Any, ...]]
) -> None:
    one_redis.flush()
    await check(one_redis, steps)


async def check(server: RedisServer | None, steps: list[tuple[Any, ...]]) -> None:
    """The images in the store are exactly the referenced ones, within the limits."""
    async with index_in(server) as kept:
        there: set[str] = set()
        lengths: dict[str, int] = {}
        for step in steps:
            match step:
                case "put", name, images, dollars, seconds, told:
                    lengths |= {it.digest: it.length for it in images}
                    there |= {it.digest for it in images}
                    about = {"dollars": dollars, "caller": "ab"[seconds % 2]}
                    told = {"t": "x" * told}
                    ends = kept.now() + seconds
                    made = entry(*images, expires=ends, extra=told, **about)
                    there -= await kept.orphaned(await kept.index.put(name, made))
                case "get", name:
                    await kept.index.get(name)
                case "drop", name:
                    there -= await kept.orphaned(await kept.index.remove(name))
                case "forget", caller:
                    there -= await kept.orphaned((await kept.index.purge(caller, None))[1])
                case "wait", seconds:
                    await kept.advance(seconds)
                    there -= await kept.orphaned(await kept.index.expire())
            memory, disk, held = await kept.usage()
            assert there == held
            assert disk == sum(map(lengths.__getitem__, held)) <= DISK
            assert memory <= MEMORY
            assert await kept.is_consistent()
