"""Operations of the shared state store, a key-value store with lifetimes.

One call executes several operations in order; those of other processes may run in between. Each
operation is atomic and touches one key, so any key-value store can implement it. Lifetimes are in
seconds.

    Get(key)                                  the value, or None
    Set(key, value, seconds)                  None
    SetIfAbsent(key, value, seconds)          the existing value, or None if this one was set
    CompareAndSet(key, old, new, seconds)     whether the value was `old` and is now `new`; None
                                              stands for no value
    Delete(key)                               None
    Append(key, item, seconds, max_items)     None; the oldest items beyond `max_items` are dropped
    RemoveItem(key, item)                     None; the item is no longer in the list
    List(key)                                 the items, oldest first
    PopAll(key)                               the same; the list is empty afterwards
    AcquireSlot(key, holder, seconds, max_slots)  whether the holder has one of the slots now
    ReleaseSlot(key, holder)                  None
    CountSlots(key)                           the number of slots in use
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

TURN_SECONDS = 30.0
"""How long operations wait for their turn at a store that is available."""


class StoreUnavailable(Exception):
    """The store is unavailable. Callers do without it; the store has already logged it."""


class StoreBusy(StoreUnavailable):
    """The store exists, but the operations had no turn in time. They may still be executed."""


class StoreClosed(StoreUnavailable):
    """The store is gone for good: this process has outlived the one that holds the state."""


class _Operation(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An operation on one key."""

    key: str


class Get(_Operation, frozen=True, tag="get"):
    """Return the value of a key."""


class Set(_Operation, frozen=True, tag="set"):
    """Set a value and its lifetime."""

    value: bytes
    seconds: float


class SetIfAbsent(_Operation, frozen=True, tag="set_if_absent"):
    """Set a value and its lifetime, unless the key has a value."""

    value: bytes
    seconds: float


class CompareAndSet(_Operation, frozen=True, tag="compare_and_set"):
    """Replace or delete a value if it equals `old`."""

    old: bytes | None
    new: bytes | None
    seconds: float


class Delete(_Operation, frozen=True, tag="delete"):
    """Delete a value."""


class Append(_Operation, frozen=True, tag="append"):
    """Append an item to a bounded list."""

    item: bytes
    seconds: float
    max_items: int


class RemoveItem(_Operation, frozen=True, tag="remove_item"):
    """Remove an item from a list."""

    item: bytes


class List(_Operation, frozen=True, tag="list"):
    """Return the items of a list."""


class PopAll(_Operation, frozen=True, tag="pop_all"):
    """Return the items of a list and delete it."""


class AcquireSlot(_Operation, frozen=True, tag="acquire_slot"):
    """Acquire one of `max_slots` slots, or renew it, for some time."""

    holder: bytes
    seconds: float
    max_slots: int


class ReleaseSlot(_Operation, frozen=True, tag="release_slot"):
    """Release a slot."""

    holder: bytes


class CountSlots(_Operation, frozen=True, tag="count_slots"):
    """Count the slots in use."""


Op = (
    Get
    | Set
    | SetIfAbsent
    | CompareAndSet
    | Delete
    | Append
    | RemoveItem
    | List
    | PopAll
    | AcquireSlot
    | ReleaseSlot
    | CountSlots
)


class StateStore(Protocol):
    """A store of shared state: Redis, or the supervisor of the workers on this machine."""

    async def execute(self, *ops: Op) -> Sequence[Any]:
        """Execute operations in order and return their results; raises `StoreUnavailable`.

        Implementations limit the time to `TURN_SECONDS` while other operations of this process
        are before these, and to a few seconds otherwise.
        """
