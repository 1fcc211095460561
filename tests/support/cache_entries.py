"""All cache indexes: in memory, in Redis and in a supervisor, for common tests."""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from adapters.tools.image_header import ImageHeader
from proxy.cache import redis_lua
from proxy.cache.entry import CacheEntry, ImageRecord
from proxy.cache.index import Index, LocalIndex, OrphanedImages
from proxy.cache.redis_index import RedisIndex
from proxy.settings.schema import Redis
from proxy.state.redis_client import RedisClient
from proxy.workers.cache_index import CacheIndexServer, RpcIndex
from proxy.workers.rpc import RpcConnection
from tests.support.redis import RedisServer
from tests.support.redis_topologies import RedisServers
from tests.support.state_stores import Clock

MEMORY, DISK = 20_000, 10_000


def image_record(number: int, length: int = 100) -> ImageRecord:
    return ImageRecord(f"{number:064x}", length, ImageHeader("image/png"))


def entry(*images: ImageRecord, expires: float = 1e12, **about: Any) -> CacheEntry:
    return CacheEntry(images, expires, **about)


def key(number: int) -> bytes:
    return b"%d" % number


class IndexUnderTest(ABC):
    """An index with a manual clock and access to its contents."""

    index: Index

    @abstractmethod
    def now(self) -> float:
        """Return the time by the clock of the index."""

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Advance the clock."""

    @abstractmethod
    async def orphaned(self, at_once: OrphanedImages) -> set[str]:
        """Return the digests orphaned immediately, and those leased after the grace period."""

    @abstractmethod
    async def usage(self) -> tuple[int, int, set[str]]:
        """Return the bytes of memory and disk in use, and the referenced digests."""

    @abstractmethod
    async def is_consistent(self) -> bool:
        """Whether nothing is left of removed entries."""


class LocalIndexUnderTest(IndexUnderTest):
    """The index in memory."""

    def __init__(self, memory: int, disk: int) -> None:
        self._now = 0.0
        self.local = self.index = LocalIndex(memory, disk, self.now)

    def now(self) -> float:
        return self._now

    async def advance(self, seconds: float) -> None:
        self._now += seconds

    async def orphaned(self, at_once: OrphanedImages) -> set[str]:
        return {*at_once, *await self.index.expire()}

    async def usage(self) -> tuple[int, int, set[str]]:
        return int(self.local.memory_used), self.local.disk_used, set(self.local._references)

    async def is_consistent(self) -> bool:
        return len(self.local._entries._heap) <= 2 * len(self.local._entries) + 101


class RedisIndexUnderTest(IndexUnderTest):
    """The index in Redis."""

    def __init__(self, redis: RedisClient, memory: int, disk: int) -> None:
        self.redis = redis
        self.index = RedisIndex(redis, memory, disk)
        # redis-py's types do not resolve awaited replies.
        self.client: Any = redis._client
        self.keys = {name: redis.key("cache", name) for name in redis_lua.KEYS}

    def another(self) -> RedisIndex:
        """Return the index of another process."""
        return RedisIndex(self.redis, MEMORY, DISK)

    def now(self) -> float:
        return time.monotonic()

    async def advance(self, seconds: float) -> None:
        # Redis has its own clock, so stored times are moved instead.
        await self.bring_forward(seconds, "expiry", "orphans", "deleting")

    async def orphaned(self, at_once: OrphanedImages) -> set[str]:
        found = {*at_once, *await self.index.expire()}
        await self.bring_forward(60, "orphans")
        while freed := await self.index.expire():
            found.update(freed)
            await self.index.confirm_deleted(freed)
        return found

    async def usage(self) -> tuple[int, int, set[str]]:
        memory, disk = await self.client.hmget(self.keys["totals"], "memory", "disk")
        held = await self.client.hkeys(self.keys["refs"])
        return int(memory or 0), int(disk or 0), {it.hex() for it in held}

    async def is_consistent(self) -> bool:
        entries, metadata = [
            await self.client.hlen(self.keys[it]) for it in ("entries", "metadata")
        ]
        sets = [await self.client.zcard(self.keys[it]) for it in ("ranks", "expiry", "owners")]
        return {entries, metadata, *sets} == {entries}

    async def bring_forward(self, seconds: float, *names: str) -> None:
        """Move the times in some keys forward."""
        for name in names:
            for member in await self.client.zrange(self.keys[name], 0, -1):
                await self.client.zincrby(self.keys[name], -seconds * 1000, member)


class RpcIndexUnderTest(IndexUnderTest):
    """The index in a supervisor: `server` is its side, `index` that of a worker."""

    index: RpcIndex

    def __init__(self, server: CacheIndexServer, line: RpcConnection, clock: Clock) -> None:
        self.server = server
        self.clock = clock
        self.index = RpcIndex(line, "workers", clock)

    def another(self) -> RpcIndex:
        """Return the index of another worker."""
        return RpcIndex(self.index._connection, "workers", self.clock)

    def now(self) -> float:
        return self.clock()

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def orphaned(self, at_once: OrphanedImages) -> set[str]:
        found = {*at_once, *await self.index.expire()}
        self.server._orphans = {
            digest: until - 60 for digest, until in self.server._orphans.items()
        }
        while freed := await self.index.expire():
            found.update(freed)
            await self.index.confirm_deleted(freed)
        return found

    async def usage(self) -> tuple[int, int, set[str]]:
        local = self.server.index
        return int(local.memory_used), local.disk_used, set(local._references)

    async def is_consistent(self) -> bool:
        local = self.server.index
        return len(local._entries._heap) <= 2 * len(local._entries) + 101


@asynccontextmanager
async def rpc_index(memory: int = MEMORY, disk: int = DISK) -> AsyncIterator[RpcIndexUnderTest]:
    """Run the index of a supervisor, with the connection of a worker."""
    clock = Clock()
    server = CacheIndexServer(memory, disk, clock)
    ours, theirs = socket.socketpair()
    supervisor, worker = (
        await RpcConnection.from_socket(ours, server.handlers),
        await RpcConnection.from_socket(theirs),
    )
    yield RpcIndexUnderTest(server, worker, clock)
    supervisor.close()
    await worker.closed.wait()


@asynccontextmanager
async def index_in(
    server: RedisServer | RedisServers | None, memory: int = MEMORY, disk: int = DISK
) -> AsyncIterator[IndexUnderTest]:
    """Run an index in memory, or in Redis."""
    if server is None:
        yield LocalIndexUnderTest(memory, disk)
        return
    async with RedisClient(Redis(url=server.url, timeout_seconds=5)) as redis:
        yield RedisIndexUnderTest(redis, memory, disk)
