"""All state stores, each ready for a test.

Their common tests are in `tests/proxy/state/test_ops.py`. Add a function here for another store.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from proxy.settings.schema import Redis
from proxy.state.memory import MemoryStore
from proxy.state.ops import StateStore
from proxy.state.redis import RedisStore
from proxy.state.redis_client import RedisClient
from proxy.workers.rpc import RpcConnection
from proxy.workers.shared_state import EXECUTE, RpcStateStore, StateServer
from tests.support.redis import redis_server
from tests.support.redis_topologies import execute


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    async def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class StoreUnderTest:
    """A state store, and a function that advances its clock by some seconds."""

    store: StateStore
    advance: Callable[[float], Awaitable[None]]


@asynccontextmanager
async def memory_store() -> AsyncIterator[StoreUnderTest]:
    clock = Clock()
    yield StoreUnderTest(MemoryStore(clock), clock.advance)


@asynccontextmanager
async def supervisor_store() -> AsyncIterator[StoreUnderTest]:
    """Run the store of a supervisor, used by a worker."""
    clock = Clock()
    ours, theirs = socket.socketpair()
    supervisor = await RpcConnection.from_socket(ours)
    supervisor.sync_handlers[EXECUTE] = StateServer(MemoryStore(clock)).execute
    worker = await RpcConnection.from_socket(theirs)
    try:
        yield StoreUnderTest(RpcStateStore(worker), clock.advance)
    finally:
        supervisor.close()
        worker.close()
        await worker.closed.wait()
        await supervisor.closed.wait()


@asynccontextmanager
async def redis_store() -> AsyncIterator[StoreUnderTest]:
    """Run a store in Redis. Advancing the clock shortens the lifetimes of its keys."""
    with TemporaryDirectory() as folder, redis_server(Path(folder)) as server:

        async def passes(seconds: float) -> None:
            ms = round(seconds * 1000)
            for name in execute(server, "KEYS", "*"):
                if execute(server, "TYPE", name) == b"zset":
                    for member in execute(server, "ZRANGE", name, 0, -1):
                        execute(server, "ZINCRBY", name, -ms, member)
                execute(server, "PEXPIRE", name, execute(server, "PTTL", name) - ms)

        async with RedisClient(Redis(url=server.url, timeout_seconds=10)) as ours:
            yield StoreUnderTest(RedisStore(ours), passes)


STORES: dict[str, Callable[[], AbstractAsyncContextManager[StoreUnderTest]]] = {
    "memory": memory_store,
    "supervisor": supervisor_store,
    "redis": redis_store,
}
