"""The cache index of all workers: the supervisor holds it, workers use it by RPC.

An orphaned image is not deleted immediately, because another worker may be reading it: after a
grace period `expire` leases it to one worker for deletion.
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
"""How long an image is kept without an entry: after its last one, or before its first."""
_LEASE_SECONDS = 600.0
"""How long a worker may take to delete a leased image before another worker gets it."""
_BATCH = 100
_TIMEOUT_SECONDS = 2.0
"""Time limit of a call to the supervisor."""
_PREFIX = "cache."

_UNAVAILABLE = "The cache index is unavailable. The gateway's log has the cause."
_BEING_DELETED = "The image is being deleted."

_encode = msgspec.msgpack.encode


class CacheIndexServer:
    """The supervisor's side: the entries of all workers."""

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
        """The RPC handlers for workers, by name."""
        return {
            _PREFIX + method.__name__: _handler(method)
            for method in (
                *(self.get, self.put, self.remove, self.purge),
                *(self.expire, self.reserve, self.release, self.confirm_deleted),
            )
        }

    async def get(self, key: bytes) -> tuple[bytes, float] | None:
        """Return an encoded entry and its remaining lifetime in seconds."""
        entry = await self.index.get(key)
        return (encode(entry), entry.expires - self._clock()) if entry else None

    async def put(self, key: bytes, body: bytes, ttl_seconds: float) -> None:
        """Add or replace an encoded entry, unless it exceeds a limit by itself."""
        entry = decode(body, self._clock() + ttl_seconds)
        if entry is None:
            raise ValueError("invalid cache entry")
        images = {image.digest for image in entry.images}
        if images & self._leases.keys():
            # Another worker is deleting one: the grace period ended before this call.
            self._schedule_deletion(await self.index.remove(key))
            self._schedule_deletion(await self.index.release(images))
        else:
            self._schedule_deletion(await self.index.put(key, entry))

    async def remove(self, key: bytes) -> None:
        """Remove an entry."""
        self._schedule_deletion(await self.index.remove(key))

    async def purge(self, caller: str, namespace: str | None) -> int:
        """Remove a caller's entries, in one namespace or in all; return their number."""
        count, orphaned = await self.index.purge(caller, namespace)
        self._schedule_deletion(orphaned)
        return count

    async def expire(self) -> OrphanedImages:
        """Remove expired entries; lease images whose grace period is over to the calling worker."""
        now = self._clock()
        self._schedule_deletion(await self.index.expire())
        for digest in [it for it, until in self._leases.items() if until <= now]:
            # The worker that held the lease has not deleted it.
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
        """Return whether an entry references an image, or None if a worker is deleting it."""
        if digest in self._leases:
            return None
        if await self.index.reserve(digest):
            return True
        self._orphans[digest] = self._clock() + _GRACE_SECONDS
        return False

    async def release(self, digests: list[str]) -> None:
        """Schedule the deletion of those of these images that no entry references."""
        self._schedule_deletion(await self.index.release(digests))

    async def confirm_deleted(self, digests: list[str]) -> None:
        """End the leases of deleted images."""
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
    """A worker's side: an index that calls the supervisor.

    Every method may raise `CacheUnavailable`. `folder` is the folder of the images of all workers,
    below `cache` in the blob store.
    """

    def __init__(
        self, connection: RpcConnection, folder: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self._connection = connection
        self._clock = clock

    async def get(self, key: bytes) -> CacheEntry | None:
        """Return the entry of a key, unless it has expired."""
        found = await self._call("get", key)
        return decode(found[0], self._clock() + found[1]) if found else None

    async def put(self, key: bytes, entry: CacheEntry) -> OrphanedImages:
        """Add or replace an entry, unless it exceeds a limit by itself. Returns no orphans."""
        try:
            body = encode(entry)
        except (TypeError, ValueError, OverflowError):
            await self._call("remove", key)
            return await self.release({image.digest for image in entry.images})
        await self._call("put", key, body, entry.expires - self._clock())
        return []

    async def remove(self, key: bytes) -> OrphanedImages:
        """Remove an entry."""
        await self._call("remove", key)
        return []

    async def purge(self, caller: str, namespace: str | None) -> tuple[int, OrphanedImages]:
        """Remove a caller's entries, in one namespace or in all; return their number."""
        return int(await self._call("purge", caller, namespace)), []

    async def expire(self) -> OrphanedImages:
        """Remove expired entries; return the images that this worker is to delete."""
        return list(await self._call("expire"))

    async def reserve(self, digest: str) -> bool:
        """Announce an image to be committed; return whether an entry references it already.

        Raises `CacheUnavailable` also if another worker is about to delete it.
        """
        held = await self._call("reserve", digest)
        if held is None:
            raise CacheUnavailable(_BEING_DELETED)
        return bool(held)

    async def release(self, digests: Iterable[str]) -> OrphanedImages:
        """Schedule the deletion of those of these images that no entry references."""
        await self._call("release", list(digests))
        return []

    async def confirm_deleted(self, digests: OrphanedImages) -> None:
        """Report that the blobs of leased images have been deleted."""
        if digests:
            await self._call("confirm_deleted", digests)

    async def _call(self, name: str, *args: object) -> Any:
        try:
            answer = await self._connection.call(_PREFIX + name, _encode(args), _TIMEOUT_SECONDS)
        except RpcError:
            raise CacheUnavailable(_UNAVAILABLE) from None
        return msgspec.msgpack.decode(answer)
