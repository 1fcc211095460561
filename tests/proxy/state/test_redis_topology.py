"""Failover of real Sentinels and a real cluster: shared state survives.

Tests with a standalone server are in `test_redis_client`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.settings.schema import Redis
from proxy.state import redis_client
from proxy.state.redis_client import RedisClient, RedisUnavailable
from tests.support.certificates import self_signed
from tests.support.redis import RedisServer, redis_server
from tests.support.redis_topologies import (
    RedisServers,
    execute,
    free_port,
    redis_cluster,
    redis_sentinel,
    wait_until,
)

TIMEOUT = 1.0
SECONDS_TO_FAIL_OVER = 30
SECRET = "sekret-sekret-sekret"
SETS: dict[str, Callable[[Path], AbstractContextManager[RedisServers]]] = {
    "sentinel": redis_sentinel,
    "cluster": redis_cluster,
}


@pytest.fixture(params=SETS)
def several(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServers]:
    with SETS[request.param](tmp_path) as found:
        yield found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_client, "_RETRY_PAUSE_SECONDS", 0.1)


@asynccontextmanager
async def shared(url: str, **more: Any) -> AsyncIterator[RedisClient]:
    async with RedisClient(Redis(url=url, **{"timeout_seconds": TIMEOUT, **more})) as ours:
        yield ours


async def add(ours: RedisClient, key: str) -> int:
    """Count with a script and with a command; return the sum."""
    script = ours.script("return redis.call('INCR', KEYS[1])")
    by_script = await ours.run_script(script, [key], [])
    [by_command] = await ours.send([key], [("INCR", key)])
    return int(by_script) + int(by_command)


async def settled(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a call until it succeeds; no call takes longer than the timeout."""
    deadline = time.monotonic() + SECONDS_TO_FAIL_OVER
    while True:
        began = time.monotonic()
        try:
            return await ask()
        except RedisUnavailable:
            assert time.monotonic() - began < 10 * TIMEOUT
            assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def owner(several: RedisServers, key: str) -> RedisServer:
    """Return the server that has a key."""
    [found] = [it for it in several.masters() if _has(it, key)]
    return found


def _has(server: RedisServer, key: str) -> bool:
    if b"cluster_enabled:1" not in execute(server, "INFO", "cluster"):
        return True
    slot = execute(server, "CLUSTER", "KEYSLOT", key)
    mine = execute(server, "CLUSTER", "MYID")
    return any(
        first <= slot <= last and master[2] == mine
        for first, last, master, *_ in execute(server, "CLUSTER", "SLOTS")
    )


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [it.getMessage().partition(" (")[0] for it in caplog.records if it.name == "easel"]


async def test_a_dead_primary_is_logged_once_and_replaced(
    several: RedisServers, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared(several.url) as ours:
        assert await add(ours, "k") == 1 + 2
        # The replica has it too.
        assert execute(owner(several, "k"), "WAIT", 1, 5000) == 1
        dead = owner(several, "k")
        dead.stop()
        with pytest.raises(RedisUnavailable):
            await add(ours, "k")
        # A script that the new master has never seen is known to it at once.
        assert await settled(lambda: add(ours, "k")) == 3 + 4
        assert messages(caplog) == ["Redis unavailable", "Redis available again"]


async def test_a_stuck_primary_costs_one_timeout_and_is_replaced(
    several: RedisServers, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared(several.url) as ours:
        assert await add(ours, "k") == 1 + 2
        assert execute(owner(several, "k"), "WAIT", 1, 5000) == 1
        with owner(several, "k").stuck():
            began = time.monotonic()
            asking = (ours.send(["k"], [("GET", "k")]) for _ in range(100))
            got = await asyncio.gather(*asking, return_exceptions=True)
            assert time.monotonic() - began < 10 * TIMEOUT
            # One that asks last may have its answer from whoever took the place.
            assert RedisUnavailable in {type(it) for it in got} <= {RedisUnavailable, list}
            assert await settled(lambda: add(ours, "k")) == 3 + 4
        assert messages(caplog) == ["Redis unavailable", "Redis available again"]


# Sentinels.


async def test_a_manual_failover_is_followed(tmp_path: Path) -> None:
    with redis_sentinel(tmp_path) as several:
        async with shared(several.url) as ours:
            assert await add(ours, "k") == 1 + 2
            [old] = several.masters()
            assert execute(old, "WAIT", 1, 5000) == 1
            execute(several.servers[2], "SENTINEL", "FAILOVER", "mymaster")
            wait_until(lambda: len(several.masters()) == 2)
            [new] = (it for it in several.masters() if it is not old)
            # The Sentinels do so too, ten seconds later. The connection to it lasts.
            execute(old, "REPLICAOF", "127.0.0.1", new.port)
            assert await settled(lambda: add(ours, "k")) == 3 + 4


async def test_a_dead_or_stuck_sentinel_is_skipped(tmp_path: Path) -> None:
    with redis_sentinel(tmp_path) as several:
        *_, gone, stuck, _ = several.servers
        gone.stop()
        with stuck.stuck():
            async with shared(several.url) as ours:
                assert await add(ours, "k") == 1 + 2


async def test_servers_and_sentinels_have_passwords_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_sentinel(tmp_path, password="right", sentinel_password="other") as several:
        async with shared(several.url, sentinel_password="other") as ours:
            assert await add(ours, "k") == 1 + 2
        assert not caplog.records
        async with shared(several.url, sentinel_password=SECRET):
            pass
        wrong = several.url.replace(":right@", f":{SECRET}@")
        async with shared(wrong, sentinel_password="other"):
            pass
    assert messages(caplog) == ["Redis unavailable"] * 2
    assert SECRET not in caplog.text


# The cluster.


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    folder = tmp_path_factory.mktemp("cluster")
    with redis_cluster(folder, 3, "--cluster-require-full-coverage", "no") as found:
        yield found


async def test_an_unavailable_node_does_not_affect_the_others(
    cluster: RedisServers, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [f"part-{number}" for number in range(32)]
    async with shared(cluster.url) as ours:
        for key in keys:
            await add(ours, key)
        away = owner(cluster, keys[0])
        lost = {key for key in keys if _has(away, key)}
        assert 0 < len(lost) < len(keys)
        away.processes[-1].send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(RedisUnavailable):
                await add(ours, keys[0])
            for key in set(keys) - lost:
                await settled(lambda it=key: add(ours, it))  # type: ignore[misc] # it is bound
            # Until a replica has taken its place what is there is not asked half.
            for key in lost:
                await settled(lambda it=key: add(ours, it))  # type: ignore[misc] # it is bound
        finally:
            away.processes[-1].send_signal(signal.SIGCONT)
    assert messages(caplog) == ["Redis unavailable", "Redis available again"]
    wait_until(lambda: len(cluster.masters()) == 3)


async def test_an_unavailable_node_without_calls_is_forgotten(cluster: RedisServers) -> None:
    later = 0.0
    settings = Redis(url=cluster.url, timeout_seconds=0.2)
    async with RedisClient(settings, lambda: time.monotonic() + later) as ours:
        keys = [f"asked-{number}" for number in range(32)]
        gone = owner(cluster, keys[0])
        other = next(key for key in keys if not _has(gone, key))
        with gone.stuck(), pytest.raises(RedisUnavailable):
            await add(ours, keys[0])
        await settled(lambda: add(ours, other))
        assert ours.is_unavailable
        later = 62
        await settled(lambda: add(ours, other))
        assert not ours.is_unavailable


async def test_keys_that_move_are_found(cluster: RedisServers) -> None:
    async with shared(cluster.url) as ours:
        assert await add(ours, "moving") == 1 + 2
        here = owner(cluster, "moving")
        there = next(it for it in cluster.masters() if it is not here)
        slot = execute(here, "CLUSTER", "KEYSLOT", "moving")
        ids = {it.port: execute(it, "CLUSTER", "MYID").decode() for it in (here, there)}
        execute(there, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[here.port])
        execute(here, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[there.port])
        execute(here, "MIGRATE", "127.0.0.1", there.port, "moving", 0, 5000)
        # It is asked for where it is no more, which tells where it is for now.
        assert await add(ours, "moving") == 3 + 4
        for server in (there, here):
            execute(server, "CLUSTER", "SETSLOT", slot, "NODE", ids[there.port])
        assert await add(ours, "moving") == 5 + 6


async def test_commands_go_to_the_nodes_of_their_keys_in_order(cluster: RedisServers) -> None:
    async with shared(cluster.url) as ours:
        keys = [f"sent-{number}" for number in range(20)]
        assert await ours.send(keys, [("INCR", key) for key in keys]) == [1] * 20
        assert len({owner(cluster, key).port for key in keys}) == 3
        twice = ["sent-0", "sent-1", "sent-0"]
        assert await ours.send(twice, [("INCR", key) for key in twice]) == [2, 2, 3]


async def test_one_server_is_no_cluster(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with redis_server(tmp_path) as server:
        async with shared(server.url.replace("redis:", "redis+cluster:")):
            pass
    assert messages(caplog) == ["Redis unavailable"]


async def test_a_wrong_cluster_password_is_logged_without_the_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, "--cluster-enabled", "yes", "--requirepass", "right") as server:
        url = server.url.replace("redis://", f"redis+cluster://:{SECRET}@")
        async with shared(url, timeout_seconds=5):
            pass
    [line] = caplog.records
    assert "AuthenticationError" in line.getMessage()
    assert SECRET not in caplog.text


# Encrypted.


@pytest.mark.parametrize("kind", ["rediss", "rediss+cluster"])
async def test_a_certificate_is_checked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    file, port = self_signed(tmp_path), free_port()
    tls = ("--tls-cert-file", str(file), "--tls-key-file", str(file), "--tls-auth-clients", "no")
    more: tuple[str, ...] = ()
    if kind == "rediss+cluster":
        # Without `tls-cluster` it tells clients its other port.
        more = ("--cluster-enabled", "yes", "--tls-cluster", "yes", "--tls-ca-cert-file", str(file))
    with redis_server(tmp_path, "--tls-port", str(port), *tls, *more) as server:
        if more:
            execute(server, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: b"cluster_state:ok" in execute(server, "CLUSTER", "INFO"))
        url = f"{kind}://127.0.0.1:{port}"
        async with shared(url):
            pass
        assert messages(caplog) == ["Redis unavailable"]
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        async with shared(url) as ours:
            assert await add(ours, "k") == 1 + 2
        assert messages(caplog) == ["Redis unavailable"]
