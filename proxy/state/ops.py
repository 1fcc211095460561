"""What can be asked of a dictionary that processes share, and who answers it.

One question is several operations in one go: they are carried out in order, others may come in
between. Each is atomic by itself, and touches one key: any store with keys can do them.

    Get(key)                        the value, or None
    Put(key, value, seconds)        None; it is there for so long
    Add(key, value, seconds)        what stood there already; None: nothing did, now this does
    Swap(key, old, new, seconds)    whether `old` (None: nothing) stood there, and `new` does now
    Delete(key)                     None
    Push(key, item, seconds, most)  None; the item ends a list, whose oldest go above `most`
    Items(key)                      the list's items, oldest first
    Take(key)                       the same, and the list is empty
    Enter(key, member, seconds, most)  whether a member was in a set, or had room in it; it is in
                                       it for so long
    Leave(key, member)              None
    Count(key)                      how many are in a set
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec


class StoreUnavailable(Exception):
    """Nobody answers now: whoever asks does without. Whoever answers has told the operator."""


class StoreClosed(StoreUnavailable):
    """Nobody will ever answer again: this process has outlived what it shared it with."""


class _Operation(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """One operation."""

    key: str


class Get(_Operation, frozen=True, tag="get"):
    """Give a value."""


class Set(_Operation, frozen=True, tag="set"):
    """Have a value there for so long."""

    value: bytes
    seconds: float


class SetIfAbsent(_Operation, frozen=True, tag="set_if_absent"):
    """Have a value there for so long unless there is one."""

    value: bytes
    seconds: float


class CompareAndSet(_Operation, frozen=True, tag="compare_and_set"):
    """Have another value there, or none, if a certain one is there now."""

    old: bytes | None
    new: bytes | None
    seconds: float


class Delete(_Operation, frozen=True, tag="delete"):
    """Have nothing there."""


class Append(_Operation, frozen=True, tag="append"):
    """Put an item at the end of a list."""

    item: bytes
    seconds: float
    max_items: int


class List(_Operation, frozen=True, tag="list"):
    """Give a list."""


class PopAll(_Operation, frozen=True, tag="pop_all"):
    """Give a list and leave none."""


class AcquireSlot(_Operation, frozen=True, tag="acquire_slot"):
    """Put a member into a set of at most so many, for so long."""

    holder: bytes
    seconds: float
    max_slots: int


class ReleaseSlot(_Operation, frozen=True, tag="release_slot"):
    """Take a member out of a set."""

    holder: bytes


class CountSlots(_Operation, frozen=True, tag="count_slots"):
    """Count a set."""


Op = (
    Get
    | Set
    | SetIfAbsent
    | CompareAndSet
    | Delete
    | Append
    | List
    | PopAll
    | AcquireSlot
    | ReleaseSlot
    | CountSlots
)


class StateStore(Protocol):
    """Who answers: a Redis, or the process that the workers of one machine have in common."""

    async def execute(self, *ops: Op) -> Sequence[Any]:
        """Answer operations in order, within a time that is short; raises `SharedAway`."""
