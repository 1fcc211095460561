"""The cache index in Redis, shared by several processes. Common tests are in `test_index`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.cache import redis_lua, store
from proxy.cache.redis_index import RedisIndex
from proxy.cache.store import CACHE
from proxy.settings.schema import Redis
from proxy.state import redis_client
from proxy.state.redis_client import RedisClient
from tests.support.cache_entries import (
    DISK,
    MEMORY,
    RedisIndexUnderTest,
    entry,
    image_record,
    index_in,
    key,
)
from tests.support.cache_store import MB, running_cache
from tests.support.gateway import ANSWER, KEY, OURS, PATH, PNG, Gateway, gateway, provider
from tests.support.gateway_process import serving
from tests.support.redis import RedisServer, redis_server
from tests.support.redis_topologies import RedisServers, execute, redis_cluster

DIGEST = image_record(1).digest
TIMEOUT = 0.3


@asynccontextmanager
async def there(
    server: RedisServer | RedisServers, *bounds: int
) -> AsyncIterator[RedisIndexUnderTest]:
    async with index_in(server, *bounds) as kept:
        assert isinstance(kept, RedisIndexUnderTest)
        yield kept


@pytest.fixture
async def kept(redis: RedisServer) -> AsyncIterator[RedisIndexUnderTest]:
    async with there(redis) as ours:
        yield ours


# The books.


PUTS = st.tuples(st.just("put"), st.integers(0, 9), st.integers(1, 5000), st.floats(0, 0.1))
ASKS = st.tuples(st.sampled_from(["get", "remove"]), st.integers(0, 9))


@settings(deadline=None, max_examples=30)
@given(steps=st.lists(st.one_of(PUTS, PUTS, ASKS), max_size=40))
async def test_redis_evicts_in_the_same_order_as_memory(
    one_redis: RedisServer, steps: list[tuple[Any, ...]]
) -> None:
    await same_goes_first(one_redis, steps)


async def same_goes_first(server: RedisServer | RedisServers, steps: list[tuple[Any, ...]]) -> None:
    server.flush()
    async with index_in(None) as here, there(server) as far:
        for step in steps:
            for index in (here.index, far.index):
                match step:
                    case "put", number, length, dollars:
                        made = entry(image_record(number, length), dollars=dollars)
                        await index.put(key(number), made)
                    case "get", number:
                        await index.get(key(number))
                    case _, number:
                        await index.remove(key(number))
            assert await far.usage() == await here.usage()


@pytest.mark.parametrize("name", redis_lua.KEYS)
async def test_an_index_with_lost_keys_starts_empty(redis: RedisServer, name: str) -> None:
    async with there(redis, 100 * MEMORY) as kept:
        for number in range(8):
            await kept.index.put(key(number), entry(image_record(number, 1000)))
        await kept.client.delete(kept.keys[name])
        for number in range(20, 60):
            await kept.index.get(key(number % 8))
            await kept.index.put(key(number), entry(image_record(number, 1000)))
            memory, disk, held = await kept.usage()
            assert disk == 1000 * len(held) <= DISK
            assert memory > 0
            assert await kept.is_consistent()
        assert await kept.index.get(key(59))


async def test_purge_and_expiry_work_in_batches(redis: RedisServer) -> None:
    async with there(redis, 100 * MEMORY, 100 * DISK) as kept:
        for number in range(250):
            ends = kept.now() + (10 if number % 2 else 1000)
            made = entry(image_record(number), expires=ends, caller="a", namespace=str(number % 3))
            await kept.index.put(key(number), made)
        assert await kept.index.purge("a", "0") == (84, [])
        await kept.advance(11)
        assert await kept.index.expire() == []
        assert await kept.index.purge("a", None) == (83, [])
        assert await kept.usage() == (0, 0, set())
        await kept.advance(61)
        found = []
        while freed := await kept.index.expire():
            found += freed
            await kept.index.confirm_deleted(freed)
        assert sorted(found) == [image_record(number).digest for number in range(250)]


async def test_an_entry_of_another_version_is_a_miss(kept: RedisIndexUnderTest) -> None:
    await kept.index.put(key(1), entry(image_record(1)))
    await kept.client.hset(kept.keys["entries"], key(1), b"\x00something else")
    assert await kept.index.get(key(1)) is None
    await kept.index.put(key(1), entry(image_record(1)))
    assert await kept.index.get(key(1))


async def test_all_keys_are_on_one_node_of_a_cluster(kept: RedisIndexUnderTest) -> None:
    await kept.index.put(key(1), entry(image_record(1)))
    await kept.index.release([image_record(2).digest])
    names = await kept.client.keys("*")
    assert names
    assert all(it.startswith(b"{easel:cache}:") for it in names)


async def test_two_prefixes_are_independent(redis: RedisServer) -> None:
    async with there(redis) as ours, RedisClient(Redis(url=redis.url, prefix="other")) as other:
        await ours.index.put(key(1), entry(image_record(1)))
        assert await RedisIndex(other, MEMORY, DISK).get(key(1)) is None


# Entries and images together


async def test_images_unknown_to_redis_are_deleted_from_the_store(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with there(redis) as kept:
        async with running_cache(tmp_path, index=kept.index, shared="shared-easel") as ours:
            await ours.store(b"k", PNG + b"1")
            redis.flush()
            await ours.store(b"l", PNG + b"2")
        assert len(ours.names) == 2
        monkeypatch.setattr(store, "_EXPIRE_INTERVAL_SECONDS", 0.01)
        async with running_cache(tmp_path, index=kept.index, shared="shared-easel") as ours:
            async with asyncio.timeout(10):
                while len(ours.names) == 2:
                    await kept.bring_forward(61, "orphans")
                    await asyncio.sleep(0.01)
            async with ours.cache.pinned_entry(b"l") as entry:
                assert entry


async def test_an_image_that_could_not_be_deleted_is_leased_again(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with (
        there(redis, MB, MB) as kept,
        running_cache(tmp_path, index=kept.index, shared="shared-easel") as ours,
    ):
        await ours.store(b"k", PNG)
        await ours.cache.remove(b"k")
        await kept.advance(61)
        assert await kept.index.expire()
        # That process died. Until its lease ends the image is not cached; no request fails.
        await ours.store(b"k", PNG)
        assert len(ours.names) == 1
        await kept.advance(601)
        assert await ours.cache._expire_once()
        assert ours.names == set()
        await ours.store(b"k", PNG)
        assert len(ours.names) == 1


# Gateways.


@asynccontextmanager
async def gateways(
    server: RedisServer | RedisServers, folder: Path, count: int = 2
) -> AsyncIterator[Any]:
    """Run gateways that share Redis and a folder, and their provider."""
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(provider())
        more = f"""
blobs: {{store: {folder}}}
redis: {{url: "{server.url}", timeout_seconds: {TIMEOUT}}}
virtual_keys:
  up: {{provider: openai, api_key: test-key-0123456789, custom_host: {fake.url}/v1}}
configs:
  pc: {{virtual_key: up, cache: {{mode: simple}}}}
"""
        ours = [await stack.enter_async_context(gateway(more)) for _ in range(count)]
        yield ours, fake


async def status(ours: Gateway, prompt: str = "a cube") -> str:
    got = await ours.draw(prompt, config="pc")
    assert (got.status, got.json) == (200, ANSWER)
    if filling := ours.app[CACHE]._fills:
        await asyncio.wait(filling)
    return str(got.headers["x-portkey-cache-status"])


async def test_an_entry_of_one_gateway_is_a_hit_on_another(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with gateways(redis, tmp_path) as ((one, other), fake):
        assert [await status(it) for it in (one, other, one)] == ["MISS", "HIT", "HIT"]
        assert len(fake.requests) == 1
        assert (await other.ask(method="DELETE", path="/v1/cache")).json == {"deleted": 1}
        assert await status(one) == "MISS"


async def test_redis_holds_no_prompt_and_no_key(redis: RedisServer, tmp_path: Path) -> None:
    async with gateways(redis, tmp_path) as (ours, _), there(redis) as kept:
        assert [await status(it, "sekret prompt") for it in ours] == ["MISS", "HIT"]
        names = await kept.client.keys("*")
        values = [await raw(kept.client, it) for it in names]
        assert len(names) > 5
        entries = await kept.client.hgetall(kept.keys["entries"])
        held = b"".join([*names, *values, *entries.keys(), *entries.values()])
        for secret in (b"sekret", KEY.encode(), b"test-key-0123456789"):
            assert secret not in held


async def raw(client: Any, name: bytes) -> bytes:
    """Return the content of a key, unpacked; it may be gone."""
    match await client.type(name):
        case b"string":
            return await client.get(name) or b""
        case b"list":
            return b"".join(await client.lrange(name, 0, -1))
        case _:
            return await client.dump(name) or b""


async def test_without_redis_images_are_generated_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_client, "_RETRY_PAUSE_SECONDS", 0.05)
    (tmp_path / "blobs").mkdir()
    with redis_server(tmp_path) as server:
        async with gateways(server, tmp_path / "blobs", 1) as ([ours], fake):
            assert [await status(ours) for _ in range(2)] == ["MISS", "HIT"]
            server.stop()
            assert [await status(ours) for _ in range(3)] == ["MISS"] * 3
            got = await ours.ask(method="DELETE", path="/v1/cache")
            assert (got.status, got.error["code"]) == (503, "cache_unavailable")
            assert len(fake.requests) == 4
            server.start()
            async with asyncio.timeout(20):
                while await status(ours) != "HIT":
                    pass
            made = len(fake.requests)
            assert await status(ours) == "HIT"
            assert len(fake.requests) == made
    told = [it for it in caplog.records if it.levelno >= logging.WARNING]
    assert [it.getMessage().partition(" (")[0] for it in told] == [
        "Redis unavailable",
        "Redis available again",
    ]
    assert not any(it.exc_info for it in told)


async def test_a_stuck_redis_costs_a_request_no_more_than_its_timeout(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with gateways(redis, tmp_path, 1) as ([ours], _):
        assert [await status(ours) for _ in range(2)] == ["MISS", "HIT"]
        with redis.stuck():
            took = []
            for _ in range(3):
                began = time.monotonic()
                assert await status(ours) == "MISS"
                took.append(time.monotonic() - began)
            assert took[0] < TIMEOUT + 0.3
            assert sum(took[1:]) < TIMEOUT


async def test_a_restarted_gateway_still_has_its_entries(
    redis: RedisServer, tmp_path: Path
) -> None:
    file = tmp_path / "easel.yaml"
    file.write_text(f"""
api_keys: {{test: {{key: {KEY}}}}}
redis: {{url: "{redis.url}"}}
virtual_keys: {{box: {{provider: sandbox}}}}
configs: {{pc: {{virtual_key: box, cache: {{mode: simple}}}}}}
""")
    with serving(tmp_path, "--config", str(file)) as url:
        async with asyncio.timeout(20):
            # It is kept a moment after the client has it.
            while (await asked(url))[0] != "HIT":
                pass
        kept = await asked(url)
    with serving(tmp_path, "--config", str(file)) as url:
        assert await asked(url) == kept
    assert kept[0] == "HIT"


async def asked(url: str) -> tuple[str, Any]:
    """Request an image; return the cache status and the image."""
    headers = {**OURS, "x-portkey-config": "pc"}
    body = {"prompt": "a cube", "size": "64x64"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + PATH, json=body, headers=headers) as got,
    ):
        return got.headers["x-portkey-cache-status"], (await got.json())["data"]


# A cluster.


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@settings(deadline=None, max_examples=10)
@given(steps=st.lists(st.one_of(PUTS, PUTS, ASKS), max_size=40))
async def test_a_cluster_evicts_in_the_same_order(
    cluster: RedisServers, steps: list[tuple[Any, ...]]
) -> None:
    await same_goes_first(cluster, steps)


async def test_entries_in_a_cluster_are_removed_and_their_images_orphaned(
    cluster: RedisServers,
) -> None:
    cluster.flush()
    async with there(cluster) as kept:
        await kept.index.put(key(1), entry(image_record(1), caller="a", namespace="n"))
        assert await kept.index.reserve(DIGEST)
        assert await kept.index.purge("a", "n") == (1, [])
        await kept.advance(61)
        assert await kept.index.expire() == [DIGEST]
        await kept.index.confirm_deleted([DIGEST])
        assert not await kept.index.reserve(DIGEST)


async def test_a_cluster_that_loses_a_node_keeps_its_entries(
    cluster: RedisServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "_RETRY_PAUSE_SECONDS", 0.05)
    cluster.flush()
    async with gateways(cluster, tmp_path) as ((one, other), _):
        assert [await status(it) for it in (one, other)] == ["MISS", "HIT"]
        entries = "{easel:cache}:entries"
        [owner] = [it for it in cluster.masters() if execute(it, "KEYS", entries)]
        assert execute(owner, "WAIT", 1, 5000) == 1
        owner.stop()
        assert await status(one) == "MISS"
        async with asyncio.timeout(30):
            while {await status(one, "another"), await status(other, "another")} != {"HIT"}:
                pass
        # It was there before, and its replica has it.
        assert await status(other) == "HIT"
