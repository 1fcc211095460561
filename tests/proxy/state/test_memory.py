"""The state store in memory. Common tests are in `test_ops`."""

from __future__ import annotations

import pytest

from proxy.state.memory import MemoryStore
from proxy.state.ops import AcquireSlot, Append, CountSlots, Get, List, Set
from tests.support.state_stores import Clock


async def test_restored_entries_keep_their_lifetime() -> None:
    clock = Clock()
    memory, later = MemoryStore(clock), MemoryStore(clock)
    await memory.execute(Set("old", b"1", 5), Set("k", b"2", 50), Append("l", b"3", 50, 9))
    await memory.execute(AcquireSlot("s", b"4", 50, 9))
    saved = memory.dump()
    clock.now += 6
    later.restore(saved)
    assert await later.execute(Get("old"), Get("k"), List("l"), CountSlots("s")) == [
        None,
        b"2",
        [b"3"],
        1,
    ]
    with pytest.raises(ValueError, match="truncated"):
        later.restore(saved[:-3])


async def test_expired_entries_free_their_memory() -> None:
    clock = Clock()
    memory = MemoryStore(clock)
    for number in range(5000):
        clock.now += 1
        await memory.execute(Set(str(number), b"v", 5))
    assert memory.size < 2000
