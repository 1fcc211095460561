"""The cache's index of all workers: the supervisor has it, workers ask over their lines.

A picture that no entry holds any more is not freed at once, as another worker may be reading it:
`tidy` frees it after a while, to one worker at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import msgspec

from proxy.cache.codec import decode, encode
from proxy.cache.entry import CacheEntry
from proxy.cache.index import LocalIndex, OrphanedImages
from proxy.errors import CacheUnavailable
from proxy.workers.rpc import Handler, RpcConnection, RpcError

_GRACE_SECONDS = 60.0
"""How long a picture lies after its last entry, or until it gets its first."""
_LEASE_SECONDS = 600.0
"""How long a worker has to delete what it was given before another one gets it."""
_BATCH = 100
_TIMEOUT_SECONDS = 2.0
"""The most that a request waits for the supervisor."""
_PREFIX = "cache."

_UNAVAILABLE = "The cache index is unavailable. The gateway's log has the cause."
_BEING_DELETED = "The image is being deleted."

_encode = msgspec.msgpack.encode


class CacheIndexServer:
    """The supervisor's side. `folder` is where the pictures lie, below `cache` in the store."""

    def __init__(
        self,
        memory_bytes: int,
        disk_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.index = LocalIndex(memory_bytes, disk_bytes, clock)
        self._clock = clock
        self._orphans: dict[str, float] = {}
        self._leases: dict[str, float] = {}

    @property
    def handlers(self) -> dict[str, Handler]:
        """What answers workers."""
        return {
            _PREFIX + it.__name__: _handler(it)
            for it in (
                *(self.get, self.put, self.remove, self.purge),
                *(self.expire, self.reserve, self.release, self.confirm_deleted),
            )
        }

    async def get(self, key: bytes) -> tuple[bytes, float] | None:
        """Give an entry, and how long it is good."""
        entry = await self.index.get(key)
        return (encode(entry), entry.expires - self._clock()) if entry else None

    async def put(self, key: bytes, body: bytes, ttl_seconds: float) -> None:
        """Keep an entry for so long."""
        entry = decode(body, self._clock() + ttl_seconds)
        if entry is None:
            raise ValueError("no entry")
        images = {it.digest for it in entry.images}
        if images & self._leases.keys():
            # Somebody is about to delete one: whoever announced it was slow.
            self._schedule_deletion(await self.index.remove(key))
            self._schedule_deletion(await self.index.release(images))
        else:
            self._schedule_deletion(await self.index.put(key, entry))

    async def remove(self, key: bytes) -> None:
        """Give an entry up."""
        self._schedule_deletion(await self.index.remove(key))

    async def purge(self, caller: str, namespace: str | None) -> int:
        """Give up what a caller filled; tells how many entries."""
        count, orphaned = await self.index.purge(caller, namespace)
        self._schedule_deletion(orphaned)
        return count

    async def expire(self) -> OrphanedImages:
        """Give up what is too old; lease to one worker what has lain for long enough."""
        now = self._clock()
        self._schedule_deletion(await self.index.expire())
        for digest in [it for it, until in self._leases.items() if until <= now]:
            # Whoever was to delete it is gone.
            self._orphans.setdefault(digest, now)
            del self._leases[digest]
        due = (it for it, at in self._orphans.items() if at <= now and it not in self._leases)
        leased = list(islice(due, _BATCH))
        for digest in leased:
            del self._orphans[digest]
            if not await self.index.reserve(digest):
                self._leases[digest] = now + _LEASE_SECONDS
        return [digest for digest in leased if digest in self._leases]

    async def reserve(self, digest: str) -> bool | None:
        """Tell whether an entry holds a picture, None where somebody is about to delete it."""
        if digest in self._leases:
            return None
        if await self.index.reserve(digest):
            return True
        self._orphans[digest] = self._clock() + _GRACE_SECONDS
        return False

    async def release(self, digests: list[str]) -> None:
        """Have those freed, after a while, that no entry holds."""
        self._schedule_deletion(await self.index.release(digests))

    async def confirm_deleted(self, digests: list[str]) -> None:
        """Note that some are gone."""
        for digest in digests:
            self._leases.pop(digest, None)

    def _schedule_deletion(self, digests: Iterable[str]) -> None:
        until = self._clock() + _GRACE_SECONDS
        for digest in digests:
            self._orphans.setdefault(digest, until)


def _handler(method: Callable[..., Any]) -> Handler:
    async def answer(payload: bytes) -> bytes:
        return _encode(await method(*msgspec.msgpack.decode(payload)))

    return answer


class RpcIndex:
    """A worker's side. Every method may raise `CacheAway`.

    `folder` is where the pictures of all workers lie, below `cache` in the store.
    """

    def __init__(
        self, connection: RpcConnection, folder: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self._connection = connection
        self._clock = clock

    async def get(self, key: bytes) -> CacheEntry | None:
        """Give the entry that is kept under a key and still good."""
        found = await self._call("get", key)
        return decode(found[0], self._clock() + found[1]) if found else None

    async def put(self, key: bytes, entry: CacheEntry) -> OrphanedImages:
        """Keep an entry if there can be room for it at all; nothing is freed at once."""
        try:
            body = encode(entry)
        except (TypeError, ValueError, OverflowError):
            await self._call("remove", key)
            return await self.release({it.digest for it in entry.images})
        await self._call("put", key, body, entry.expires - self._clock())
        return []

    async def remove(self, key: bytes) -> OrphanedImages:
        """Give an entry up."""
        await self._call("remove", key)
        return []

    async def purge(self, caller: str, namespace: str | None) -> tuple[int, OrphanedImages]:
        """Give up what a caller filled, in one namespace or in all; tells how many entries."""
        return int(await self._call("purge", caller, namespace)), []

    async def expire(self) -> OrphanedImages:
        """Give up what is too old; tells what can go, as far as no other worker was told."""
        return list(await self._call("expire"))

    async def reserve(self, digest: str) -> bool:
        """Note that a picture is about to be put in its place; tells whether an entry holds it.

        Raises `CacheAway` too where another worker is about to delete it.
        """
        held = await self._call("reserve", digest)
        if held is None:
            raise CacheUnavailable(_BEING_DELETED)
        return bool(held)

    async def release(self, digests: Iterable[str]) -> OrphanedImages:
        """Have those of some pictures freed, after a while, that no entry holds."""
        await self._call("release", list(digests))
        return []

    async def confirm_deleted(self, digests: OrphanedImages) -> None:
        """Note that the bytes of freed pictures are gone."""
        if digests:
            await self._call("confirm_deleted", digests)

    async def _call(self, name: str, *args: object) -> Any:
        try:
            answer = await self._connection.call(_PREFIX + name, _encode(args), _TIMEOUT_SECONDS)
        except RpcError:
            raise CacheUnavailable(_UNAVAILABLE) from None
        return msgspec.msgpack.decode(answer)
