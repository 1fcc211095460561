"""The dictionary that processes share, in the memory of one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

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

_SWEPT_AT_LEAST = 1024
"""So many entries are kept before those that are too old are looked for."""


class _Entry(msgspec.Struct):
    value: Any
    until: float


class Memory:
    """Answers from its own memory; what is too old is not there."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._sweep_at = _SWEPT_AT_LEAST

    @property
    def size(self) -> int:
        """How many entries there are, with some that are too old."""
        return len(self._entries)

    async def ask(self, *ops: Op) -> Sequence[Any]:
        """Answer operations in order."""
        return self.answers(ops)

    def answers(self, ops: Sequence[Op]) -> list[Any]:
        """Answer operations in order, at once."""
        found = [_ANSWERS[type(op)](self, op) for op in ops]
        if len(self._entries) >= self._sweep_at:
            self._sweep()
        return found

    def saved(self) -> bytes:
        """Give all of it, for a `Memory` of a later process to restore."""
        self._sweep()
        kept = {key: (it.until, it.value) for key, it in self._entries.items()}
        return msgspec.msgpack.encode(kept)

    def restore(self, saved: bytes) -> None:
        """Take over what an earlier process saved; raises `ValueError` if it is none of that."""
        kind = dict[str, tuple[float, bytes | list[bytes] | dict[bytes, float]]]
        for key, (until, value) in msgspec.msgpack.decode(saved, type=kind).items():
            self._entries[key] = _Entry(value, until)
        self._sweep()

    def _sweep(self) -> None:
        now = self._clock()
        self._entries = {key: it for key, it in self._entries.items() if it.until > now}
        self._sweep_at = max(_SWEPT_AT_LEAST, 2 * len(self._entries))

    def _value(self, key: str) -> Any:
        entry = self._entries.get(key)
        if entry is None or entry.until > self._clock():
            return entry.value if entry else None
        del self._entries[key]
        return None

    def _set(self, key: str, value: Any, seconds: float) -> None:
        self._entries[key] = _Entry(value, self._clock() + seconds)

    def _get(self, op: Get) -> Any:
        return self._value(op.key)

    def _put(self, op: Put) -> None:
        self._set(op.key, op.value, op.seconds)

    def _add(self, op: Add) -> Any:
        found = self._value(op.key)
        if found is None:
            self._set(op.key, op.value, op.seconds)
        return found

    def _swap(self, op: Swap) -> bool:
        if self._value(op.key) != op.old:
            return False
        if op.new is None:
            self._entries.pop(op.key, None)
        else:
            self._set(op.key, op.new, op.seconds)
        return True

    def _delete(self, op: Delete) -> None:
        self._entries.pop(op.key, None)

    def _push(self, op: Push) -> None:
        items = [*(self._value(op.key) or ()), op.item]
        self._set(op.key, items[-op.most :], op.seconds)

    def _items(self, op: Items) -> list[bytes]:
        return list(self._value(op.key) or ())

    def _take(self, op: Take) -> list[bytes]:
        items = self._items(Items(op.key))
        self._entries.pop(op.key, None)
        return items

    def _members(self, key: str) -> dict[bytes, float]:
        now = self._clock()
        found: dict[bytes, float] = self._value(key) or {}
        return {member: until for member, until in found.items() if until > now}

    def _enter(self, op: Enter) -> bool:
        members = self._members(op.key)
        if op.member not in members and len(members) >= op.most:
            return False
        members[op.member] = self._clock() + op.seconds
        self._entries[op.key] = _Entry(members, max(members.values()))
        return True

    def _leave(self, op: Leave) -> None:
        members = self._members(op.key)
        if members.pop(op.member, None) is None:
            return
        if members:
            self._entries[op.key] = _Entry(members, max(members.values()))
        else:
            self._entries.pop(op.key, None)

    def _count(self, op: Count) -> int:
        return len(self._members(op.key))


_ANSWERS: dict[type, Callable[[Memory, Any], Any]] = {
    Get: Memory._get,  # noqa: SLF001 - the class's own table
    Put: Memory._put,  # noqa: SLF001 - the same
    Add: Memory._add,  # noqa: SLF001 - the same
    Swap: Memory._swap,  # noqa: SLF001 - the same
    Delete: Memory._delete,  # noqa: SLF001 - the same
    Push: Memory._push,  # noqa: SLF001 - the same
    Items: Memory._items,  # noqa: SLF001 - the same
    Take: Memory._take,  # noqa: SLF001 - the same
    Enter: Memory._enter,  # noqa: SLF001 - the same
    Leave: Memory._leave,  # noqa: SLF001 - the same
    Count: Memory._count,  # noqa: SLF001 - the same
}
