"""The dictionary that processes share, as any that answers must."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from proxy.shared.asking import (
    Add,
    Count,
    Delete,
    Enter,
    Get,
    Items,
    Leave,
    Push,
    Put,
    Swap,
    Take,
)
from proxy.shared.memory import Memory


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_value_is_there_for_its_time() -> None:
    clock = Clock()
    memory = Memory(clock)
    await memory.ask(Put("k", b"v", 5))
    clock.now += 4.9
    assert await memory.ask(Get("k")) == [b"v"]
    clock.now += 0.2
    assert await memory.ask(Get("k")) == [None]


async def test_only_the_first_adds() -> None:
    memory = Memory()
    said = await memory.ask(Add("k", b"1", 9), Add("k", b"2", 9), Get("k"), Delete("k"), Get("k"))
    assert said == [None, b"1", b"1", None, None]


async def test_a_swap_needs_what_it_was_told_of() -> None:
    memory = Memory()
    said = await memory.ask(
        Swap("k", b"x", b"1", 9), Swap("k", None, b"1", 9), Swap("k", b"1", None, 9), Get("k")
    )
    assert said == [False, True, True, None]


async def test_a_list_keeps_the_newest_and_is_taken_once() -> None:
    memory = Memory()
    await memory.ask(*(Push("k", bytes([item]), 9, 2) for item in range(3)))
    said = await memory.ask(Items("k"), Take("k"), Take("k"))
    assert said == [[b"\x01", b"\x02"], [b"\x01", b"\x02"], []]


async def test_a_set_has_room_again_when_one_leaves_or_its_time_is_over() -> None:
    clock = Clock()
    memory = Memory(clock)
    said = await memory.ask(
        Enter("k", b"a", 5, 2),
        Enter("k", b"b", 9, 2),
        Enter("k", b"c", 9, 2),
        Enter("k", b"a", 5, 2),
    )
    assert said == [True, True, False, True]
    clock.now += 6
    assert await memory.ask(Count("k"), Enter("k", b"c", 9, 2), Count("k")) == [1, True, 2]
    assert await memory.ask(Leave("k", b"b"), Leave("k", b"b"), Count("k")) == [None, None, 1]
    assert await memory.ask(Leave("k", b"c"), Count("k")) == [None, 0]


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
