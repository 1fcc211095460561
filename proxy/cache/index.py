"""The cache index: entries by key, within two limits: bytes of memory and bytes of images.

Eviction is cost-aware (the GreedyDual-Size algorithm). An entry's rank is `floor + eviction_value`,
computed again at each use. The entry with the lowest rank is evicted, and the floor rises to its
rank. So cheap entries go before expensive ones, and an expensive entry goes too if it is not used
while many others are.
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
"""Digests of images that no entry references any more: their blobs can be deleted."""


class Index(Protocol):
    """An index of entries. A process must not run two modifying calls at the same time.

    Every method of an index outside the process may raise `CacheUnavailable`.
    """

    async def get(self, key: bytes) -> CacheEntry | None:
        """Return the entry of a key, unless it has expired."""

    async def put(self, key: bytes, entry: CacheEntry) -> OrphanedImages:
        """Add or replace an entry, unless it exceeds a limit by itself; return orphaned images."""

    async def remove(self, key: bytes) -> OrphanedImages:
        """Remove an entry."""

    async def purge(self, caller: str, namespace: str | None) -> tuple[int, OrphanedImages]:
        """Remove a caller's entries, in one namespace or in all; return their number."""

    async def expire(self) -> OrphanedImages:
        """Remove expired entries; return the images to delete, also of entries removed earlier."""

    async def reserve(self, digest: str) -> bool:
        """Announce an image to be committed; return whether an entry references it already."""

    async def release(self, digests: Iterable[str]) -> OrphanedImages:
        """Orphan those of these images that no entry references."""

    async def confirm_deleted(self, digests: OrphanedImages) -> None:
        """Report that the blobs of orphaned images have been deleted."""


class SharedIndex(Index, Protocol):
    """An index shared by several processes. `folder` is the folder of their images."""

    folder: str


@dataclass(slots=True)
class _Ranked:
    """An entry and its rank. The number of its last use decides between equal ranks.

    `serial` distinguishes it from an earlier entry of the same key.
    """

    entry: CacheEntry
    weight: int
    serial: int
    rank: tuple[float, int]
    value: float


class LocalIndex:
    """The entries of one process. `disk_used` is the size of the referenced images in bytes."""

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
        """Approximate memory of all entries in bytes."""
        return self._entries.currsize

    async def get(self, key: bytes) -> CacheEntry | None:
        """Return the entry of a key, unless it has expired."""
        try:
            found = self._entries[key]
        except KeyError:
            return None
        if found.entry.expires <= self._clock():
            return None
        self._entries.touch(found)
        return found.entry

    async def put(self, key: bytes, entry: CacheEntry) -> OrphanedImages:
        """Add or replace an entry, unless it exceeds a limit by itself; return orphaned images."""
        self._entries.pop(key, None)
        sizes = {image.digest: image.length for image in entry.images}
        self._add_references(sizes)
        try:
            weight = entry.weight
        except orjson.JSONEncodeError:
            weight = 1 << 62
        if weight > self._entries.maxsize or sum(sizes.values()) > self._max_disk_bytes:
            self.drop_references(sizes)
            return self._take_orphans()
        while self.disk_used > self._max_disk_bytes and self._entries:
            self._entries.popitem()
        self._entries.add(key, entry, weight)
        return self._take_orphans()

    async def remove(self, key: bytes) -> OrphanedImages:
        """Remove an entry."""
        self._entries.pop(key, None)
        return self._take_orphans()

    async def purge(self, caller: str, namespace: str | None) -> tuple[int, OrphanedImages]:
        """Remove a caller's entries, in one namespace or in all; return their number."""
        return self._remove_matching(
            lambda entry: entry.caller == caller and namespace in (None, entry.namespace)
        ), self._take_orphans()

    async def expire(self) -> OrphanedImages:
        """Remove expired entries."""
        now = self._clock()
        self._remove_matching(lambda entry: entry.expires <= now)
        return self._take_orphans()

    async def reserve(self, digest: str) -> bool:
        """Whether an entry references an image."""
        return digest in self._references

    async def release(self, digests: Iterable[str]) -> OrphanedImages:
        """Return those of these images that no entry references."""
        return [digest for digest in digests if digest not in self._references]

    async def confirm_deleted(self, digests: OrphanedImages) -> None:
        """Do nothing: orphaned images are not tracked here."""

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

    def drop_references(self, digests: Iterable[str]) -> None:
        """Count one reference less for each of these images."""
        for digest in set(digests):
            held = self._references[digest]
            held[1] -= 1
            if not held[1]:
                del self._references[digest]
                self.disk_used -= held[0]
                self._orphans.append(digest)

    def _take_orphans(self) -> OrphanedImages:
        freed, self._orphans = self._orphans, []
        # An image that another entry has referenced since is no orphan.
        return [digest for digest in freed if digest not in self._references]


class _Entries(Cache[bytes, _Ranked]):
    """Entries within a memory limit; the lowest rank is evicted first.

    The heap may hold an outdated rank of an entry. Ranks only rise, so it is enough to check the
    current rank when the entry reaches the top.
    """

    def __init__(self, limit: int, index: LocalIndex) -> None:
        super().__init__(limit, getsizeof=lambda ranked: ranked.weight)
        self._index = index
        self._heap: list[tuple[tuple[float, int], int, bytes]] = []
        self._serials = itertools.count()
        self._floor = 0.0

    def add(self, key: bytes, entry: CacheEntry, weight: int) -> None:
        """Add an entry under an unused key, and evict others to make room."""
        serial = next(self._serials)
        ranked = _Ranked(entry, weight, serial, (0.0, 0), entry.eviction_value)
        self[key] = ranked
        self.touch(ranked)
        heapq.heappush(self._heap, (ranked.rank, serial, key))
        if len(self._heap) > 2 * len(self) + 100:
            self._heap = [(it.rank, it.serial, name) for name, it in self.items()]
            heapq.heapify(self._heap)

    def touch(self, ranked: _Ranked) -> None:
        """Update the rank of an entry that was used."""
        ranked.rank = self._floor + ranked.value, next(self._serials)

    def popitem(self) -> tuple[bytes, _Ranked]:
        """Remove and return the entry with the lowest rank."""
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
        self._index.drop_references(image.digest for image in ranked.entry.images)
