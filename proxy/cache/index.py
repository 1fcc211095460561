"""The entries of the cache, in memory, within two bounds: bytes of memory, and of pictures.

Who goes first is decided by what making it again would cost, for a byte that it holds (the
algorithm GreedyDual-Size): an entry's rank is `floor + worth`, anew with each use; the lowest rank
goes, and the floor rises to it. What is cheap goes before what is dear, and what is dear goes too
once it has not been asked for while much else came.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import orjson
from cachetools import Cache

from proxy.cache.entry import Entry

Freed = list[str]
"""Digests of pictures that no entry holds any more: their bytes can go."""


class Index(Protocol):
    """Where entries are kept. No two calls of one process that change something may overlap.

    One that lies elsewhere may raise `CacheAway` from any of them.
    """

    async def get(self, key: bytes) -> Entry | None:
        """Give the entry that is kept under a key and still good."""

    async def put(self, key: bytes, entry: Entry) -> Freed:
        """Keep an entry if there can be room for it at all; its own pictures may be freed."""

    async def drop(self, key: bytes) -> Freed:
        """Give an entry up."""

    async def forget(self, caller: str, namespace: str | None) -> tuple[int, Freed]:
        """Give up what a caller filled, in one namespace or in all; tells how many entries."""

    async def tidy(self) -> Freed:
        """Give up what is too old; tells what can go, also of what was given up before."""

    async def announce(self, digest: str) -> bool:
        """Note that a picture is about to be put in its place; tells whether an entry holds it."""

    async def free(self, digests: Iterable[str]) -> Freed:
        """Give up those of some pictures that no entry holds."""

    async def deleted(self, digests: Freed) -> None:
        """Note that the bytes of freed pictures are gone."""


class PlacedIndex(Index, Protocol):
    """One that several processes have. `folder` is that of their pictures."""

    folder: str


@dataclass(slots=True)
class _Ranked:
    """An entry, its rank, and when it was used last, which decides between equal ranks.

    `serial` tells it from an older one under the same key.
    """

    entry: Entry
    weight: int
    serial: int
    order: tuple[float, int]
    worth: float


class LocalIndex:
    """The entries of one process. `disk` is how many bytes of pictures they hold."""

    def __init__(
        self, memory_bytes: int, disk_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.disk = 0
        self._limit = disk_bytes
        self._clock = clock
        self._entries = _Entries(memory_bytes, self)
        self._pictures: dict[str, list[int]] = {}
        self._freed: Freed = []

    @property
    def memory(self) -> float:
        """About how many bytes of memory the entries take."""
        return self._entries.currsize

    async def get(self, key: bytes) -> Entry | None:
        """Give the entry that is kept under a key and still good."""
        try:
            found = self._entries[key]
        except KeyError:
            return None
        if found.entry.expires <= self._clock():
            return None
        self._entries.used(found)
        return found.entry

    async def put(self, key: bytes, entry: Entry) -> Freed:
        """Keep an entry if there can be room for it at all; its own pictures may be freed."""
        self._entries.pop(key, None)
        sizes = {it.digest: it.length for it in entry.pictures}
        self._hold(sizes)
        try:
            weight = entry.weight
        except orjson.JSONEncodeError:
            weight = 1 << 62
        if weight > self._entries.maxsize or sum(sizes.values()) > self._limit:
            self.release(sizes)
            return self._gone()
        while self.disk > self._limit and self._entries:
            self._entries.popitem()
        self._entries.add(key, entry, weight)
        return self._gone()

    async def drop(self, key: bytes) -> Freed:
        """Give an entry up."""
        self._entries.pop(key, None)
        return self._gone()

    async def forget(self, caller: str, namespace: str | None) -> tuple[int, Freed]:
        """Give up what a caller filled, in one namespace or in all; tells how many entries."""
        return self._drop_all(
            lambda it: it.caller == caller and namespace in (None, it.namespace)
        ), self._gone()

    async def tidy(self) -> Freed:
        """Give up what is too old."""
        now = self._clock()
        self._drop_all(lambda it: it.expires <= now)
        return self._gone()

    async def announce(self, digest: str) -> bool:
        """Tell whether an entry holds a picture."""
        return digest in self._pictures

    async def free(self, digests: Iterable[str]) -> Freed:
        """Tell which of some pictures no entry holds."""
        return [digest for digest in digests if digest not in self._pictures]

    async def deleted(self, digests: Freed) -> None:
        """Nothing was noted of what was freed."""

    def _drop_all(self, which: Callable[[Entry], bool]) -> int:
        keys = [key for key, ranked in self._entries.items() if which(ranked.entry)]
        for key in keys:
            del self._entries[key]
        return len(keys)

    def _hold(self, sizes: dict[str, int]) -> None:
        for digest, size in sizes.items():
            held = self._pictures.setdefault(digest, [size, 0])
            held[1] += 1
            if held[1] == 1:
                self.disk += size

    def release(self, digests: Iterable[str]) -> None:
        """Count an entry less that holds some pictures."""
        for digest in set(digests):
            held = self._pictures[digest]
            held[1] -= 1
            if not held[1]:
                del self._pictures[digest]
                self.disk -= held[0]
                self._freed.append(digest)

    def _gone(self) -> Freed:
        freed, self._freed = self._freed, []
        # What another entry has taken hold of since is not free.
        return [digest for digest in freed if digest not in self._pictures]


class _Entries(Cache[bytes, _Ranked]):
    """Bounded in bytes; the lowest rank goes first.

    The heap has the rank that an entry once had, which can only have risen: it is looked up again
    when the entry's turn comes.
    """

    def __init__(self, limit: int, index: LocalIndex) -> None:
        super().__init__(limit, getsizeof=lambda ranked: ranked.weight)
        self._index = index
        self._heap: list[tuple[tuple[float, int], int, bytes]] = []
        self._serials = itertools.count()
        self._floor = 0.0

    def add(self, key: bytes, entry: Entry, weight: int) -> None:
        """Put an entry in that is not there, and make room for it."""
        serial = next(self._serials)
        ranked = _Ranked(entry, weight, serial, (0.0, 0), entry.worth)
        self[key] = ranked
        self.used(ranked)
        heapq.heappush(self._heap, (ranked.order, serial, key))
        if len(self._heap) > 2 * len(self) + 100:
            self._heap = [(it.order, it.serial, name) for name, it in self.items()]
            heapq.heapify(self._heap)

    def used(self, ranked: _Ranked) -> None:
        """Note that an entry was asked for."""
        ranked.order = self._floor + ranked.worth, next(self._serials)

    def popitem(self) -> tuple[bytes, _Ranked]:
        """Give up the entry with the lowest rank."""
        while True:
            order, serial, key = heapq.heappop(self._heap)
            found = self.get(key)
            if found is None or found.serial != serial:
                continue
            if found.order > order:
                heapq.heappush(self._heap, (found.order, serial, key))
                continue
            self._floor = order[0]
            return key, self.pop(key)

    def __delitem__(self, key: bytes) -> None:
        ranked = self[key]
        super().__delitem__(key)
        self._index.release(it.digest for it in ranked.entry.pictures)
