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

from proxy.cache.entry import CacheEntry

OrphanedImages = list[str]
"""Digests of pictures that no entry holds any more: their bytes can go."""


class Index(Protocol):
    """Where entries are kept. No two calls of one process that change something may overlap.

    One that lies elsewhere may raise `CacheAway` from any of them.
    """

    async def get(self, key: bytes) -> CacheEntry | None:
        """Give the entry that is kept under a key and still good."""

    async def put(self, key: bytes, entry: CacheEntry) -> OrphanedImages:
        """Keep an entry if there can be room for it at all; its own pictures may be freed."""

    async def remove(self, key: bytes) -> OrphanedImages:
        """Give an entry up."""

    async def purge(self, caller: str, namespace: str | None) -> tuple[int, OrphanedImages]:
        """Give up what a caller filled, in one namespace or in all; tells how many entries."""

    async def expire(self) -> OrphanedImages:
        """Give up what is too old; tells what can go, also of what was given up before."""

    async def reserve(self, digest: str) -> bool:
        """Note that a picture is about to be put in its place; tells whether an entry holds it."""

    async def release(self, digests: Iterable[str]) -> OrphanedImages:
        """Give up those of some pictures that no entry holds."""

    async def confirm_deleted(self, digests: OrphanedImages) -> None:
        """Note that the bytes of freed pictures are gone."""


class SharedIndex(Index, Protocol):
    """One that several processes have. `folder` is that of their pictures."""

    folder: str


@dataclass(slots=True)
class _Ranked:
    """An entry, its rank, and when it was used last, which decides between equal ranks.

    `serial` tells it from an older one under the same key.
    """

    entry: CacheEntry
    weight: int
    serial: int
    rank: tuple[float, int]
    value: float


class LocalIndex:
    """The entries of one process. `disk` is how many bytes of pictures they hold."""

    def __init__(
        self, memory_bytes: int, disk_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.disk_used = 0
        self._max_disk_bytes = disk_bytes
        self._clock = clock
        self._entries = _Entries(memory_bytes, self)
        self._references: dict[str, list[int]] = {}
        self._orphans: OrphanedImages = []

    @property
    def memory_used(self) -> float:
        """About how many bytes of memory the entries take."""
        return self._entries.currsize

    async def get(self, key: bytes) -> CacheEntry | None:
        """Give the entry that is kept under a key and still good."""
        try:
            found = self._entries[key]
        except KeyError:
            return None
        if found.entry.expires <= self._clock():
            return None
        self._entries.touch(found)
        return found.entry

    async def put(self, key: bytes, entry: CacheEntry) -> OrphanedImages:
        """Keep an entry if there can be room for it at all; its own pictures may be freed."""
        self._entries.pop(key, None)
        sizes = {it.digest: it.length for it in entry.images}
        self._add_references(sizes)
        try:
            weight = entry.weight
        except orjson.JSONEncodeError:
            weight = 1 << 62
        if weight > self._entries.maxsize or sum(sizes.values()) > self._max_disk_bytes:
            self._drop_references(sizes)
            return self._take_orphans()
        while self.disk_used > self._max_disk_bytes and self._entries:
            self._entries.popitem()
        self._entries.add(key, entry, weight)
        return self._take_orphans()

    async def drop(self, key: bytes) -> OrphanedImages:
        """Give an entry up."""
        self._entries.pop(key, None)
        return self._take_orphans()

    async def forget(self, caller: str, namespace: str | None) -> tuple[int, OrphanedImages]:
        """Give up what a caller filled, in one namespace or in all; tells how many entries."""
        return self._remove_matching(
            lambda it: it.caller == caller and namespace in (None, it.namespace)
        ), self._take_orphans()

    async def tidy(self) -> OrphanedImages:
        """Give up what is too old."""
        now = self._clock()
        self._remove_matching(lambda it: it.expires <= now)
        return self._take_orphans()

    async def announce(self, digest: str) -> bool:
        """Tell whether an entry holds a picture."""
        return digest in self._references

    async def free(self, digests: Iterable[str]) -> OrphanedImages:
        """Tell which of some pictures no entry holds."""
        return [digest for digest in digests if digest not in self._references]

    async def deleted(self, digests: OrphanedImages) -> None:
        """Nothing was noted of what was freed."""

    def _remove_matching(self, matches: Callable[[CacheEntry], bool]) -> int:
        keys = [key for key, ranked in self._entries.items() if matches(ranked.entry)]
        for key in keys:
            del self._entries[key]
        return len(keys)

    def _add_references(self, sizes: dict[str, int]) -> None:
        for digest, size in sizes.items():
            held = self._references.setdefault(digest, [size, 0])
            held[1] += 1
            if held[1] == 1:
                self.disk_used += size

    def _drop_references(self, digests: Iterable[str]) -> None:
        """Count an entry less that holds some pictures."""
        for digest in set(digests):
            held = self._references[digest]
            held[1] -= 1
            if not held[1]:
                del self._references[digest]
                self.disk_used -= held[0]
                self._orphans.append(digest)

    def _take_orphans(self) -> OrphanedImages:
        freed, self._orphans = self._orphans, []
        # What another entry has taken hold of since is not free.
        return [digest for digest in freed if digest not in self._references]


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

    def add(self, key: bytes, entry: CacheEntry, weight: int) -> None:
        """Put an entry in that is not there, and make room for it."""
        serial = next(self._serials)
        ranked = _Ranked(entry, weight, serial, (0.0, 0), entry.eviction_value)
        self[key] = ranked
        self.touch(ranked)
        heapq.heappush(self._heap, (ranked.rank, serial, key))
        if len(self._heap) > 2 * len(self) + 100:
            self._heap = [(it.rank, it.serial, name) for name, it in self.items()]
            heapq.heapify(self._heap)

    def touch(self, ranked: _Ranked) -> None:
        """Note that an entry was asked for."""
        ranked.rank = self._floor + ranked.value, next(self._serials)

    def popitem(self) -> tuple[bytes, _Ranked]:
        """Give up the entry with the lowest rank."""
        while True:
            order, serial, key = heapq.heappop(self._heap)
            ranked = self.get(key)
            if ranked is None or ranked.serial != serial:
                continue
            if ranked.rank > order:
                heapq.heappush(self._heap, (ranked.rank, serial, key))
                continue
            self._floor = order[0]
            return key, self.pop(key)

    def __delitem__(self, key: bytes) -> None:
        ranked = self[key]
        super().__delitem__(key)
        self._index._drop_references(it.digest for it in ranked.entry.images)
