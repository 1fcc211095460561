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
from proxy.cache.codec import read, written
from proxy.cache.entry import Entry
from proxy.cache.index import Freed
from proxy.errors import CacheUnavailable
from proxy.state.redis_client import RedisAway, SharedRedis

_GRACE_SECONDS = 60.0
"""How long a picture lies after its last entry."""
_LEASE_SECONDS = 600.0
"""How long a process has to delete what it was given before another one gets it."""
_AT_ONCE = 100
"""How many entries or pictures one script deals with: no other call waits long for it."""
_TOO_HEAVY = 1 << 62


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
        self._bounds = memory_bytes, disk_bytes
        self._clock = clock
        self._keys = [redis.key("cache", name) for name in redis_lua.KEYS]
        self._get = redis.script(redis_lua.GET)
        self._put = redis.script(redis_lua.PUT)
        self._drop = redis.script(redis_lua.DROP)
        self._forget = redis.script(redis_lua.FORGET)
        self._tidy = redis.script(redis_lua.TIDY)
        self._announce = redis.script(redis_lua.ANNOUNCE)
        self._free = redis.script(redis_lua.FREE)
        self._deleted = redis.script(redis_lua.DELETED)

    async def get(self, key: bytes) -> Entry | None:
        """Give the entry that is kept under a key and still good."""
        found = await self._run(self._get, key)
        return read(found[0], self._clock() + found[1] / 1000) if found else None

    async def put(self, key: bytes, entry: Entry) -> Freed:
        """Keep an entry if there can be room for it at all; nothing is freed at once."""
        try:
            body, weight = written(entry), entry.weight
        except (TypeError, ValueError, OverflowError):
            body, weight = b"", _TOO_HEAVY
        left = int((entry.expires - self._clock()) * 1000)
        pictures = {bytes.fromhex(it.digest): it.length for it in entry.pictures}
        about = _owner(entry.caller, entry.namespace), weight, entry.worth, left, *self._bounds
        sizes = [part for picture in pictures.items() for part in picture]
        await self._run(self._put, key, body, *about, *sizes)
        return []

    async def drop(self, key: bytes) -> Freed:
        """Give an entry up."""
        await self._run(self._drop, key)
        return []

    async def forget(self, caller: str, namespace: str | None) -> tuple[int, Freed]:
        """Give up what a caller filled, in one namespace or in all; tells how many entries."""
        owner = _owner(caller, namespace)
        first, last = b"[" + owner, b"[" + owner + b"\xff" * 3 * redis_lua.OWNER
        count = 0
        while found := await self._run(self._forget, first, last, _AT_ONCE):
            count += found
            if found < _AT_ONCE:
                break
        return count, []

    async def tidy(self) -> Freed:
        """Give up what is too old; tells what can go, as far as no other process was told."""
        while True:
            old, free = await self._run(self._tidy, _LEASE_SECONDS * 1000, _AT_ONCE)
            if free or old < _AT_ONCE:
                return [digest.hex() for digest in free]

    async def announce(self, digest: str) -> bool:
        """Note that a picture is about to be put in its place; tells whether an entry holds it.

        Raises `CacheAway` too where another process is about to delete it.
        """
        found = await self._run(self._announce, bytes.fromhex(digest))
        if found < 0:
            raise CacheUnavailable("The picture is being deleted.")
        return bool(found)

    async def free(self, digests: Iterable[str]) -> Freed:
        """Have those of some pictures freed, after a while, that no entry holds."""
        await self._run(self._free, *map(bytes.fromhex, digests))
        return []

    async def deleted(self, digests: Freed) -> None:
        """Note that the bytes of freed pictures are gone."""
        if digests:
            await self._run(self._deleted, *map(bytes.fromhex, digests))

    async def _run(self, script: Any, *args: bytes | float) -> Any:
        try:
            return await self._redis.run(script, self._keys, (_GRACE_SECONDS * 1000, *args))
        except RedisAway:
            raise CacheUnavailable(
                "What the cache knows cannot be reached now; the gateway's log says why."
            ) from None


def _owner(caller: str, namespace: str | None) -> bytes:
    """Give the beginning of an owner's members: all of a caller's, or those of one namespace."""
    parts = [caller] if namespace is None else [caller, namespace]
    half = redis_lua.OWNER // 2
    return b"".join(hashlib.sha256(part.encode()).digest()[:half] for part in parts)
