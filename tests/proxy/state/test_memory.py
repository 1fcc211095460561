"""The dictionary that processes share, where it lies in memory; `test_asking` has the rest."""

from __future__ import annotations

import pytest

from proxy.state.memory import Memory
from proxy.state.ops import Count, Enter, Get, Items, Push, Put
from tests.support.state_stores import Clock


async def test_what_was_saved_is_there_again_while_it_is_good() -> None:
    clock = Clock()
    memory, later = Memory(clock), Memory(clock)
    await memory.ask(Put("old", b"1", 5), Put("k", b"2", 50), Push("l", b"3", 50, 9))
    await memory.ask(Enter("s", b"4", 50, 9))
    saved = memory.saved()
    clock.now += 6
    later.restore(saved)
    assert await later.ask(Get("old"), Get("k"), Items("l"), Count("s")) == [None, b"2", [b"3"], 1]
    with pytest.raises(ValueError, match="truncated"):
        later.restore(saved[:-3])


async def test_what_is_too_old_takes_no_memory_for_ever() -> None:
    clock = Clock()
    memory = Memory(clock)
    for number in range(5000):
        clock.now += 1
        await memory.ask(Put(str(number), b"v", 5))
    assert memory.size < 2000
