"""The entries of the cache in a Redis that several processes share.

It keeps to the same bounds and the same order of going as the index in memory. A picture that no
entry holds any more is not freed at once, as another process may be reading it: `tidy` frees it
after a while, to one process at a time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import Any

from proxy.cache import redis_lua
from proxy.cache.codec import decode, encode
from proxy.cache.entry import CacheEntry
from proxy.cache.index import OrphanedImages
from proxy.errors import CacheUnavailable
from proxy.state.redis_client import RedisAway, SharedRedis

_GRACE_SECONDS = 60.0
"""How long a picture lies after its last entry."""
_LEASE_SECONDS = 600.0
"""How long a process has to delete what it was given before another one gets it."""
_BATCH = 100
"""How many entries or pictures one script deals with: no other call waits long for it."""
_OVER_ANY_LIMIT = 1 << 62


class RedisIndex:
    """The entries of all processes with one Redis. Every method may raise `CacheAway`."""

    def __init__(
        self,
        redis: SharedRedis,
        memory_bytes: int,
        disk_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._limits = memory_bytes, disk_bytes
        self._clock = clock
        self._keys = [redis.key("cache", name) for name in redis_lua.KEYS]
        self._get = redis.script(redis_lua.GET)
        self._put = redis.script(redis_lua.PUT)
        self._remove = redis.script(redis_lua.REMOVE)
        self._purge = redis.script(redis_lua.PURGE)
        self._expire = redis.script(redis_lua.EXPIRE)
        self._reserve = redis.script(redis_lua.RESERVE)
        self._release = redis.script(redis_lua.RELEASE)
        self._confirm_deleted = redis.script(redis_lua.CONFIRM_DELETED)

    async def get(self, key: bytes) -> CacheEntry | None:
        """Give the entry that is kept under a key and still good."""
        found = await self._run(self._get, key)
        return decode(found[0], self._clock() + found[1] / 1000) if found else None

    async def put(self, key: bytes, entry: CacheEntry) -> OrphanedImages:
        """Keep an entry if there can be room for it at all; nothing is freed at once."""
        try:
            body, weight = encode(entry), entry.weight
        except (TypeError, ValueError, OverflowError):
            body, weight = b"", _OVER_ANY_LIMIT
        ttl_ms = int((entry.expires - self._clock()) * 1000)
        images = {bytes.fromhex(it.digest): it.length for it in entry.images}
        details = (
            _owner_prefix(entry.caller, entry.namespace),
            weight,
            entry.eviction_value,
            ttl_ms,
            *self._limits,
        )
        sizes = [part for picture in images.items() for part in picture]
        await self._run(self._put, key, body, *details, *sizes)
        return []

    async def remove(self, key: bytes) -> OrphanedImages:
        """Give an entry up."""
        await self._run(self._remove, key)
        return []

    async def purge(self, caller: str, namespace: str | None) -> tuple[int, OrphanedImages]:
        """Give up what a caller filled, in one namespace or in all; tells how many entries."""
        owner = _owner_prefix(caller, namespace)
        first, last = b"[" + owner, b"[" + owner + b"\xff" * 3 * redis_lua.OWNER_BYTES
        count = 0
        while found := await self._run(self._purge, first, last, _BATCH):
            count += found
            if found < _BATCH:
                break
        return count, []

    async def expire(self) -> OrphanedImages:
        """Give up what is too old; tells what can go, as far as no other process was told."""
        while True:
            expired, orphaned = await self._run(self._expire, _LEASE_SECONDS * 1000, _BATCH)
            if orphaned or expired < _BATCH:
                return [digest.hex() for digest in orphaned]

    async def reserve(self, digest: str) -> bool:
        """Note that a picture is about to be put in its place; tells whether an entry holds it.

        Raises `CacheAway` too where another process is about to delete it.
        """
        found = await self._run(self._reserve, bytes.fromhex(digest))
        if found < 0:
            raise CacheUnavailable("The picture is being deleted.")
        return bool(found)

    async def release(self, digests: Iterable[str]) -> OrphanedImages:
        """Have those of some pictures freed, after a while, that no entry holds."""
        await self._run(self._release, *map(bytes.fromhex, digests))
        return []

    async def confirm_deleted(self, digests: OrphanedImages) -> None:
        """Note that the bytes of freed pictures are gone."""
        if digests:
            await self._run(self._confirm_deleted, *map(bytes.fromhex, digests))

    async def _run(self, script: Any, *args: bytes | float) -> Any:
        try:
            return await self._redis.run(script, self._keys, (_GRACE_SECONDS * 1000, *args))
        except RedisAway:
            raise CacheUnavailable(
                "What the cache knows cannot be reached now; the gateway's log says why."
            ) from None


def _owner_prefix(caller: str, namespace: str | None) -> bytes:
    """Give the beginning of an owner's members: all of a caller's, or those of one namespace."""
    parts = [caller] if namespace is None else [caller, namespace]
    half = redis_lua.OWNER_BYTES // 2
    return b"".join(hashlib.sha256(part.encode()).digest()[:half] for part in parts)
