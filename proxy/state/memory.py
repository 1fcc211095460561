"""The shared state store in the memory of one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

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

_MIN_SWEEP_SIZE = 1024
"""Number of entries from which on expired ones are searched for and deleted."""


class _Entry(msgspec.Struct):
    value: Any
    expires: float


class MemoryStore:
    """Executes operations on its own memory; expired entries do not exist."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._sweep_at = _MIN_SWEEP_SIZE

    @property
    def size(self) -> int:
        """Number of entries, possibly including expired ones."""
        return len(self._entries)

    async def execute(self, *ops: Op) -> Sequence[Any]:
        """Execute operations in order and return their results."""
        return self.execute_now(ops)

    def execute_now(self, ops: Sequence[Op]) -> list[Any]:
        """Execute operations in order and return their results, without awaiting."""
        results = [_HANDLERS[type(op)](self, op) for op in ops]
        if len(self._entries) >= self._sweep_at:
            self._sweep()
        return results

    def dump(self) -> bytes:
        """Return all entries as bytes, for `restore` in a later process."""
        self._sweep()
        entries = {key: (entry.expires, entry.value) for key, entry in self._entries.items()}
        return msgspec.msgpack.encode(entries)

    def restore(self, data: bytes) -> None:
        """Load entries dumped by an earlier process; raises `ValueError` if they are invalid."""
        kind = dict[str, tuple[float, bytes | list[bytes] | dict[bytes, float]]]
        for key, (expires, value) in msgspec.msgpack.decode(data, type=kind).items():
            self._entries[key] = _Entry(value, expires)
        self._sweep()

    def _sweep(self) -> None:
        now = self._clock()
        self._entries = {key: entry for key, entry in self._entries.items() if entry.expires > now}
        self._sweep_at = max(_MIN_SWEEP_SIZE, 2 * len(self._entries))

    def _value(self, key: str) -> Any:
        entry = self._entries.get(key)
        if entry is None or entry.expires > self._clock():
            return entry.value if entry else None
        del self._entries[key]
        return None

    def _store(self, key: str, value: Any, seconds: float) -> None:
        self._entries[key] = _Entry(value, self._clock() + seconds)

    def _get(self, op: Get) -> Any:
        return self._value(op.key)

    def _set(self, op: Set) -> None:
        self._store(op.key, op.value, op.seconds)

    def _set_if_absent(self, op: SetIfAbsent) -> Any:
        found = self._value(op.key)
        if found is None:
            self._store(op.key, op.value, op.seconds)
        return found

    def _compare_and_set(self, op: CompareAndSet) -> bool:
        if self._value(op.key) != op.old:
            return False
        if op.new is None:
            self._entries.pop(op.key, None)
        else:
            self._store(op.key, op.new, op.seconds)
        return True

    def _delete(self, op: Delete) -> None:
        self._entries.pop(op.key, None)

    def _append(self, op: Append) -> None:
        items = [*(self._value(op.key) or ()), op.item]
        self._store(op.key, items[-op.max_items :], op.seconds)

    def _remove_item(self, op: RemoveItem) -> None:
        entry = self._entries.get(op.key)
        items = [item for item in self._list(List(op.key)) if item != op.item]
        if entry and items:
            self._entries[op.key] = _Entry(items, entry.expires)
        else:
            self._entries.pop(op.key, None)

    def _list(self, op: List) -> list[bytes]:
        return list(self._value(op.key) or ())

    def _pop_all(self, op: PopAll) -> list[bytes]:
        items = self._list(List(op.key))
        self._entries.pop(op.key, None)
        return items

    def _holders(self, key: str) -> dict[bytes, float]:
        now = self._clock()
        holders: dict[bytes, float] = self._value(key) or {}
        return {holder: expires for holder, expires in holders.items() if expires > now}

    def _acquire_slot(self, op: AcquireSlot) -> bool:
        holders = self._holders(op.key)
        if op.holder not in holders and len(holders) >= op.max_slots:
            return False
        holders[op.holder] = self._clock() + op.seconds
        self._entries[op.key] = _Entry(holders, max(holders.values()))
        return True

    def _release_slot(self, op: ReleaseSlot) -> None:
        holders = self._holders(op.key)
        if holders.pop(op.holder, None) is None:
            return
        if holders:
            self._entries[op.key] = _Entry(holders, max(holders.values()))
        else:
            self._entries.pop(op.key, None)

    def _count_slots(self, op: CountSlots) -> int:
        return len(self._holders(op.key))


_HANDLERS: dict[type, Callable[[MemoryStore, Any], Any]] = {
    Get: MemoryStore._get,  # noqa: SLF001 - the class's own table
    Set: MemoryStore._set,  # noqa: SLF001 - the same
    SetIfAbsent: MemoryStore._set_if_absent,  # noqa: SLF001 - the same
    CompareAndSet: MemoryStore._compare_and_set,  # noqa: SLF001 - the same
    Delete: MemoryStore._delete,  # noqa: SLF001 - the same
    Append: MemoryStore._append,  # noqa: SLF001 - the same
    RemoveItem: MemoryStore._remove_item,  # noqa: SLF001 - the same
    List: MemoryStore._list,  # noqa: SLF001 - the same
    PopAll: MemoryStore._pop_all,  # noqa: SLF001 - the same
    AcquireSlot: MemoryStore._acquire_slot,  # noqa: SLF001 - the same
    ReleaseSlot: MemoryStore._release_slot,  # noqa: SLF001 - the same
    CountSlots: MemoryStore._count_slots,  # noqa: SLF001 - the same
}
