"""The cache index in Redis, shared by several processes.

Limits and eviction order are those of the index in memory. An orphaned image is not deleted
immediately, because another process may be reading it: after a grace period `expire` leases it to
one process for deletion.
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
from proxy.state.redis_client import RedisClient, RedisUnavailable

_GRACE_SECONDS = 60.0
"""How long an image is kept after its last entry is gone."""
_LEASE_SECONDS = 600.0
"""How long a process may take to delete a leased image before another process gets it."""
_BATCH = 100
"""Entries or images per script run, so that a run does not block Redis for long."""
_OVER_ANY_LIMIT = 1 << 62


class RedisIndex:
    """The entries of all processes with one Redis. Every method may raise `CacheUnavailable`."""

    def __init__(
        self,
        redis: RedisClient,
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
        """Return the entry of a key, unless it has expired."""
        found = await self._run(self._get, key)
        return decode(found[0], self._clock() + found[1] / 1000) if found else None

    async def put(self, key: bytes, entry: CacheEntry) -> OrphanedImages:
        """Add or replace an entry, unless it exceeds a limit by itself. Returns no orphans."""
        try:
            body, weight = encode(entry), entry.weight
        except (TypeError, ValueError, OverflowError):
            body, weight = b"", _OVER_ANY_LIMIT
        ttl_ms = int((entry.expires - self._clock()) * 1000)
        images = {bytes.fromhex(image.digest): image.length for image in entry.images}
        details = (
            _owner_prefix(entry.caller, entry.namespace),
            weight,
            entry.eviction_value,
            ttl_ms,
            *self._limits,
        )
        sizes = [part for image in images.items() for part in image]
        await self._run(self._put, key, body, *details, *sizes)
        return []

    async def remove(self, key: bytes) -> OrphanedImages:
        """Remove an entry."""
        await self._run(self._remove, key)
        return []

    async def purge(self, caller: str, namespace: str | None) -> tuple[int, OrphanedImages]:
        """Remove a caller's entries, in one namespace or in all; return their number."""
        owner = _owner_prefix(caller, namespace)
        first, last = b"[" + owner, b"[" + owner + b"\xff" * 3 * redis_lua.OWNER_BYTES
        count = 0
        while found := await self._run(self._purge, first, last, _BATCH):
            count += found
            if found < _BATCH:
                break
        return count, []

    async def expire(self) -> OrphanedImages:
        """Remove expired entries; return the images that this process is to delete."""
        while True:
            expired, orphaned = await self._run(self._expire, _LEASE_SECONDS * 1000, _BATCH)
            if orphaned or expired < _BATCH:
                return [digest.hex() for digest in orphaned]

    async def reserve(self, digest: str) -> bool:
        """Announce an image to be committed; return whether an entry references it already.

        Raises `CacheUnavailable` also if another process is about to delete it.
        """
        found = await self._run(self._reserve, bytes.fromhex(digest))
        if found < 0:
            raise CacheUnavailable("The image is being deleted.")
        return bool(found)

    async def release(self, digests: Iterable[str]) -> OrphanedImages:
        """Schedule the deletion of those of these images that no entry references."""
        await self._run(self._release, *map(bytes.fromhex, digests))
        return []

    async def confirm_deleted(self, digests: OrphanedImages) -> None:
        """Report that the blobs of leased images have been deleted."""
        if digests:
            await self._run(self._confirm_deleted, *map(bytes.fromhex, digests))

    async def _run(self, script: Any, *args: bytes | float) -> Any:
        try:
            return await self._redis.run_script(script, self._keys, (_GRACE_SECONDS * 1000, *args))
        except RedisUnavailable:
            raise CacheUnavailable(
                "The cache index is unavailable. The gateway's log has the cause."
            ) from None


def _owner_prefix(caller: str, namespace: str | None) -> bytes:
    """Return the prefix of an owner's members: all of a caller's, or those of one namespace."""
    parts = [caller] if namespace is None else [caller, namespace]
    half = redis_lua.OWNER_BYTES // 2
    return b"".join(hashlib.sha256(part.encode()).digest()[:half] for part in parts)
