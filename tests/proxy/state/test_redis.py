"""The state store in Redis: standalone, with Sentinel, and in a cluster.

Common tests of all state stores are in `test_ops`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.settings.schema import Redis
from proxy.state import redis_client
from proxy.state.memory import MemoryStore
from proxy.state.ops import (
    AcquireSlot,
    Append,
    CompareAndSet,
    CountSlots,
    Delete,
    Get,
    List,
    Op,
    PopAll,
    ReleaseSlot,
    Set,
    SetIfAbsent,
    StoreUnavailable,
)
from proxy.state.redis import RedisStore
from proxy.state.redis_client import RedisClient
from tests.support.redis import RedisServer, redis_server
from tests.support.redis_topologies import RedisServers, execute, redis_cluster, redis_sentinel

DEADLINE = 20


@contextmanager
def alone(folder: Path) -> Iterator[RedisServers]:
    with redis_server(folder) as server:
        yield RedisServers(server.url, (server,))


KINDS: dict[str, Callable[[Path], AbstractContextManager[RedisServers]]] = {
    "one": alone,
    "sentinel": redis_sentinel,
    "cluster": redis_cluster,
}


@pytest.fixture(scope="module", params=KINDS)
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServers]:
    with KINDS[request.param](tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture
def there(kind: RedisServers) -> RedisServers:
    kind.flush()
    return kind


@asynccontextmanager
async def opened(url: str, seconds: float = 10) -> AsyncIterator[RedisStore]:
    async with RedisClient(Redis(url=url, timeout_seconds=seconds)) as redis:
        yield RedisStore(redis)


async def until(is_so: Callable[[Any], bool], ours: RedisStore, *ops: Op) -> None:
    async with asyncio.timeout(DEADLINE):
        while not is_so(await ours.execute(*ops)):
            pass


VALUES = st.sampled_from([b"", b"-", b"=", b"a", b"\x00\xff\r\n"])
OLD = st.one_of(st.none(), VALUES)
PLACES = st.sampled_from(["x", "y", "{z}"])
MOST = st.integers(1, 3)


def of(kind: str) -> st.SearchStrategy[str]:
    """Return a strategy for keys of one kind."""
    return PLACES.map(lambda place: f"{kind}:{place}")


OPS: st.SearchStrategy[Op] = st.one_of(
    st.builds(Get, of("value")),
    st.builds(Set, of("value"), VALUES, st.just(60.0)),
    st.builds(SetIfAbsent, of("value"), VALUES, st.just(60.0)),
    st.builds(CompareAndSet, of("value"), OLD, OLD, st.just(60.0)),
    st.builds(Delete, of("value")),
    st.builds(Append, of("list"), VALUES, st.just(60.0), MOST),
    st.builds(List, of("list")),
    st.builds(PopAll, of("list")),
    st.builds(Delete, of("list")),
    st.builds(AcquireSlot, of("set"), VALUES, st.just(60.0), MOST),
    st.builds(ReleaseSlot, of("set"), VALUES),
    st.builds(CountSlots, of("set")),
)


@settings(deadline=None, max_examples=40)
@given(asked=st.lists(st.lists(OPS, max_size=8), max_size=6))
async def test_redis_gives_the_same_results_as_memory(
    kind: RedisServers, asked: list[list[Op]]
) -> None:
    kind.flush()
    memory = MemoryStore()
    async with opened(kind.url) as ours:
        for ops in asked:
            assert await ours.execute(*ops) == await memory.execute(*ops)


async def test_every_key_has_a_lifetime(there: RedisServers) -> None:
    async with opened(there.url) as ours:
        await ours.execute(
            *(Set("p", b"1", 60), SetIfAbsent("a", b"1", 60), CompareAndSet("s", None, b"1", 60)),
            *(
                Append("l", b"1", 60, 9),
                AcquireSlot("e", b"1", 30, 9),
                AcquireSlot("e", b"2", 60, 9),
            ),
            *(AcquireSlot("e", b"3", 1, 9), Set("now", b"1", 0)),
        )
        lifetimes = [
            execute(server, "PTTL", name)
            for server in there.masters()
            for name in execute(server, "KEYS", "*")
        ]
        assert len(lifetimes) == 5
        assert all(50_000 < it <= 60_000 for it in lifetimes)


async def test_lifetimes_follow_the_clock_of_the_server(there: RedisServers) -> None:
    async with opened(there.url) as ours:
        put = Set("p", b"1", 0.05), SetIfAbsent("a", b"1", 0.05), Append("l", b"1", 0.05, 9)
        await ours.execute(
            *put, AcquireSlot("e", b"long", 60, 2), AcquireSlot("e", b"short", 0.05, 2)
        )
        await until(
            [None, None, [], 1].__eq__, ours, Get("p"), Get("a"), List("l"), CountSlots("e")
        )
        said = await ours.execute(
            AcquireSlot("e", b"next", 60, 2), AcquireSlot("e", b"more", 60, 2)
        )
        assert said == [True, False]


async def test_keys_are_spread_over_a_cluster(there: RedisServers) -> None:
    async with opened(there.url) as ours:
        await ours.execute(*(Set(f"k{number}", b"", 60) for number in range(60)))
        names = [execute(server, "KEYS", "*") for server in there.masters()]
        assert all(len(it) > 5 for it in names)
        assert {it for some in names for it in some} == {
            b"easel:shared:k%d" % number for number in range(60)
        }


async def test_two_prefixes_are_independent(there: RedisServers) -> None:
    other = RedisClient(Redis(url=there.url, prefix="other"))
    async with opened(there.url) as ours, other:
        await ours.execute(Set("k", b"1", 60))
        assert await RedisStore(other).execute(Get("k")) == [None]


async def test_each_operation_is_atomic(there: RedisServers) -> None:
    async with opened(there.url) as ours, opened(there.url) as other:
        asking = [
            who.execute(
                SetIfAbsent("a", b"%d" % number, 60),
                AcquireSlot("e", b"%d" % number, 60, 7),
                CompareAndSet("s", None, b"%d" % number, 60),
                Append("l", b"%d" % number, 60, 100),
                PopAll("t") if number % 2 else Append("t", b"%d" % number, 60, 100),
            )
            for number, who in enumerate([ours, other] * 40)
        ]
        added, entered, swapped, _, taken = zip(*await asyncio.gather(*asking), strict=True)
        assert [added.count(None), entered.count(True), swapped.count(True)] == [1, 7, 1]
        pushed, left = await ours.execute(List("l"), PopAll("t"))
        assert sorted(pushed) == sorted(b"%d" % number for number in range(80))
        found = [item for it in [*taken, left] for item in it or ()]
        assert sorted(found) == sorted(b"%d" % number for number in range(0, 80, 2))


@dataclass
class Away:
    """Ways in which a server is unavailable."""

    server: RedisServer

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.server.stop()
        yield
        self.server.start()

    @contextmanager
    def stuck(self) -> Iterator[None]:
        with self.server.stuck():
            yield


@pytest.mark.parametrize("how", [Away.stopped, Away.stuck])
async def test_an_unavailable_server_raises_until_it_responds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[Away], AbstractContextManager[None]],
) -> None:
    monkeypatch.setattr(redis_client, "_RETRY_PAUSE_SECONDS", 0.01)
    with redis_server(tmp_path) as server:
        async with opened(server.url, 0.2) as ours:
            await ours.execute(Set("k", b"1", 60))
            with how(Away(server)):
                for _ in range(3):
                    with pytest.raises(StoreUnavailable):
                        await ours.execute(Get("k"))
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.02)
            assert await ours.execute(SetIfAbsent("k", b"2", 60)) in ([None], [b"1"])


async def test_a_refused_command_raises_unavailable(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "1") as server:
        async with opened(server.url) as ours:
            with pytest.raises(StoreUnavailable):
                await ours.execute(Set("k", b"1", 60))
            assert await ours.execute(Get("k")) == [None]
