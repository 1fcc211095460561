"""What is asked of the dictionary that processes share: whoever answers keeps the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from proxy.state.ops import (
    Add,
    Count,
    Delete,
    Enter,
    Get,
    Items,
    Leave,
    Op,
    Push,
    Put,
    Swap,
    Take,
)
from tests.support.state_stores import ANSWERERS, Answerer


@pytest.fixture(params=ANSWERERS)
async def who(request: pytest.FixtureRequest) -> AsyncIterator[Answerer]:
    async with ANSWERERS[request.param]() as answerer:
        yield answerer


def test_operations_can_be_sent_and_read() -> None:
    ops: list[Op] = [Get("k"), Swap("k", None, b"\x00", 1.5), Enter("s", b"m", 2.0, 3)]
    sent = msgspec.msgpack.encode(ops)
    assert msgspec.msgpack.decode(sent, type=list[Op]) == ops


async def test_a_value_is_there_for_its_time(who: Answerer) -> None:
    await who.shared.ask(Put("k", b"v", 2))
    assert await who.shared.ask(Get("k")) == [b"v"]
    await who.passes(2.2)
    assert await who.shared.ask(Get("k")) == [None]


async def test_only_the_first_adds(who: Answerer) -> None:
    said = await who.shared.ask(
        Add("k", b"1", 9), Add("k", b"2", 9), Get("k"), Delete("k"), Get("k")
    )
    assert said == [None, b"1", b"1", None, None]


async def test_a_swap_needs_what_it_was_told_of(who: Answerer) -> None:
    said = await who.shared.ask(
        Swap("k", b"x", b"1", 9), Swap("k", None, b"1", 9), Swap("k", b"1", None, 9), Get("k")
    )
    assert said == [False, True, True, None]


async def test_a_list_keeps_the_newest_and_is_taken_once(who: Answerer) -> None:
    await who.shared.ask(*(Push("k", bytes([item]), 9, 2) for item in range(3)))
    said = await who.shared.ask(Items("k"), Take("k"), Take("k"))
    assert said == [[b"\x01", b"\x02"], [b"\x01", b"\x02"], []]


async def test_a_set_has_room_again_when_one_leaves(who: Answerer) -> None:
    said = await who.shared.ask(
        Enter("k", b"a", 9, 2),
        Enter("k", b"b", 9, 2),
        Enter("k", b"c", 9, 2),
        Enter("k", b"a", 9, 2),
    )
    assert said == [True, True, False, True]
    said = await who.shared.ask(Leave("k", b"b"), Leave("k", b"b"), Count("k"))
    assert said == [None, None, 1]
    assert await who.shared.ask(Leave("k", b"a"), Count("k")) == [None, 0]


async def test_a_set_has_room_again_when_the_time_of_one_is_over(who: Answerer) -> None:
    assert await who.shared.ask(Enter("k", b"a", 2, 2), Enter("k", b"b", 60, 2)) == [True, True]
    await who.passes(2.2)
    assert await who.shared.ask(Count("k"), Enter("k", b"c", 60, 2), Count("k")) == [1, True, 2]


async def test_no_question_is_answered_by_nothing(who: Answerer) -> None:
    assert list(await who.shared.ask()) == []
