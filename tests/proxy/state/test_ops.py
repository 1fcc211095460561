"""Common tests of all state stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from proxy.state.ops import (
    AcquireSlot,
    Append,
    CompareAndSet,
    CountSlots,
    Delete,
    Get,
    List,
    Op,
    PopAll,
    ReleaseSlot,
    RemoveItem,
    Set,
    SetIfAbsent,
)
from tests.support.state_stores import STORES, StoreUnderTest


@pytest.fixture(params=STORES)
async def who(request: pytest.FixtureRequest) -> AsyncIterator[StoreUnderTest]:
    async with STORES[request.param]() as answerer:
        yield answerer


def test_operations_survive_encoding() -> None:
    ops: list[Op] = [
        Get("k"),
        CompareAndSet("k", None, b"\x00", 1.5),
        AcquireSlot("s", b"m", 2.0, 3),
    ]
    sent = msgspec.msgpack.encode(ops)
    assert msgspec.msgpack.decode(sent, type=list[Op]) == ops


async def test_a_value_expires_after_its_lifetime(who: StoreUnderTest) -> None:
    await who.store.execute(Set("k", b"v", 2))
    assert await who.store.execute(Get("k")) == [b"v"]
    await who.advance(2.2)
    assert await who.store.execute(Get("k")) == [None]


async def test_only_the_first_sets_if_absent(who: StoreUnderTest) -> None:
    said = await who.store.execute(
        SetIfAbsent("k", b"1", 9), SetIfAbsent("k", b"2", 9), Get("k"), Delete("k"), Get("k")
    )
    assert said == [None, b"1", b"1", None, None]


async def test_compare_and_set_needs_the_old_value(who: StoreUnderTest) -> None:
    said = await who.store.execute(
        CompareAndSet("k", b"x", b"1", 9),
        CompareAndSet("k", None, b"1", 9),
        CompareAndSet("k", b"1", None, 9),
        Get("k"),
    )
    assert said == [False, True, True, None]


async def test_a_list_keeps_the_newest_items_and_is_popped_once(who: StoreUnderTest) -> None:
    await who.store.execute(*(Append("k", bytes([item]), 9, 2) for item in range(3)))
    said = await who.store.execute(List("k"), PopAll("k"), PopAll("k"))
    assert said == [[b"\x01", b"\x02"], [b"\x01", b"\x02"], []]


async def test_a_removed_item_is_no_longer_in_the_list(who: StoreUnderTest) -> None:
    await who.store.execute(*(Append("l", it, 60, 9) for it in (b"1", b"2", b"1", b"3")))
    removed = await who.store.execute(RemoveItem("l", b"1"), List("l"), RemoveItem("none", b"1"))
    assert list(removed) == [None, [b"2", b"3"], None]
    assert await who.store.execute(*(RemoveItem("l", it) for it in (b"2", b"3")), List("l")) == [
        *(None, None),
        [],
    ]


async def test_a_released_slot_can_be_acquired(who: StoreUnderTest) -> None:
    said = await who.store.execute(
        AcquireSlot("k", b"a", 9, 2),
        AcquireSlot("k", b"b", 9, 2),
        AcquireSlot("k", b"c", 9, 2),
        AcquireSlot("k", b"a", 9, 2),
    )
    assert said == [True, True, False, True]
    said = await who.store.execute(ReleaseSlot("k", b"b"), ReleaseSlot("k", b"b"), CountSlots("k"))
    assert said == [None, None, 1]
    assert await who.store.execute(ReleaseSlot("k", b"a"), CountSlots("k")) == [None, 0]


async def test_an_expired_slot_can_be_acquired(who: StoreUnderTest) -> None:
    assert await who.store.execute(AcquireSlot("k", b"a", 2, 2), AcquireSlot("k", b"b", 60, 2)) == [
        True,
        True,
    ]
    await who.advance(2.2)
    assert await who.store.execute(
        CountSlots("k"), AcquireSlot("k", b"c", 60, 2), CountSlots("k")
    ) == [1, True, 2]


async def test_no_operations_give_no_results(who: StoreUnderTest) -> None:
    assert list(await who.store.execute()) == []
