"""The Redis client with a server that is stopped, stuck and restarted."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.settings.schema import Redis
from proxy.state import redis_client
from proxy.state.redis_client import RedisClient, RedisUnavailable
from tests.support.redis import RedisServer, redis_server
from tests.support.redis_topologies import execute

TIMEOUT = 0.3
SECRET = "sekret-sekret-sekret"


@dataclass
class CutsTheAnswer:
    """A connection to Redis on which commands arrive but replies do not."""

    port: int
    url: str = ""
    cuts: bool = False

    @classmethod
    @asynccontextmanager
    async def of(cls, port: int) -> AsyncIterator[CutsTheAnswer]:
        ours = cls(port)
        server = await asyncio.start_server(ours._serve, "127.0.0.1", 0)
        ours.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield ours
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        while asked := await reader.read(65536):
            back.write(asked)
            answer = await there.read(65536)
            if self.cuts:
                break
            writer.write(answer)
        back.close()
        writer.close()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@asynccontextmanager
async def shared(url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient(Redis(url=url, timeout_seconds=TIMEOUT)) as ours:
        yield ours


async def ping(ours: RedisClient) -> Any:
    return await ours.call(lambda client: client.ping())


async def is_away(ours: RedisClient) -> bool:
    with pytest.raises(RedisUnavailable):
        await ping(ours)
    return True


async def test_replies_are_bytes(one: RedisServer) -> None:
    async with shared(one.url) as ours:
        script = ours.script("return {ARGV[1], KEYS[1]}")
        for _ in range(2):
            got = await ours.run_script(script, [ours.key("test", "a")], [b"\xff"])
            assert got == [b"\xff", b"{easel:test}:a"]


async def test_a_restart_is_logged_once_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_client, "_RETRY_PAUSE_SECONDS", 0.01)
    with redis_server(tmp_path) as server:
        async with shared(server.url) as ours:
            script = ours.script("return 1")
            assert await ours.run_script(script, [], []) == 1
            server.stop()
            for _ in range(3):
                assert await is_away(ours)
                await asyncio.sleep(0.02)
            server.start()
            await asyncio.sleep(0.02)
            # It has forgotten the script, too.
            assert [await ours.run_script(script, [], []) for _ in range(2)] == [1, 1]
    told = [(it.levelname, it.getMessage()) for it in caplog.records if it.name == "easel"]
    assert told == [
        ("ERROR", "Redis unavailable (ConnectionError); continuing without shared state"),
        ("WARNING", "Redis available again"),
    ]
    assert not any(it.exc_info for it in caplog.records)


async def test_a_restart_between_calls_is_not_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        async with shared(server.url) as ours:
            server.stop()
            server.start()
            assert await ping(ours)
    assert not caplog.records


async def test_a_stuck_server_costs_one_timeout_and_then_nothing(
    one: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared(one.url) as ours:
        with one.stuck():
            for most in (10 * TIMEOUT, 0.9 * TIMEOUT):
                began = time.monotonic()
                assert await is_away(ours)
                assert time.monotonic() - began < most
    assert [it.name for it in caplog.records] == ["easel"]


async def test_many_calls_to_a_stuck_server_wait_one_timeout(one: RedisServer) -> None:
    async with shared(one.url) as ours:
        with one.stuck():
            began = time.monotonic()
            got = await asyncio.gather(*(ping(ours) for _ in range(100)), return_exceptions=True)
            # One after the other they would wait a hundred.
            assert time.monotonic() - began < 80 * TIMEOUT
            assert {type(it) for it in got} == {RedisUnavailable}
            # No connection is lost to the pool.
            assert not ours._client.connection_pool._in_use_connections


async def test_only_one_call_probes_an_unavailable_server(one: RedisServer) -> None:
    async with shared(one.url) as ours:
        with one.stuck():
            assert await is_away(ours)
            ours._retry_at = {"": 0.0}
            trying = asyncio.create_task(ping(ours))
            await asyncio.sleep(0)
            began = time.monotonic()
            assert await is_away(ours)
            assert time.monotonic() - began < 0.9 * TIMEOUT
        assert await trying


async def test_a_wrong_password_is_logged_without_the_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, "--requirepass", "right") as server:
        url = server.url.replace("//", f"//:{SECRET}@")
        async with shared(url) as ours:
            assert await is_away(ours)
            assert SECRET not in repr(ours)
        async with shared(server.url.replace("//", "//:right@")) as ours:
            assert await ping(ours)
    [line] = caplog.records
    assert "AuthenticationError" in line.getMessage()
    assert SECRET not in caplog.text


async def test_a_refusal_is_logged_once_and_other_calls_work(
    one: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared(one.url) as ours:
        await ours.call(lambda client: client.set("text", "a"))
        for _ in range(3):
            with pytest.raises(RedisUnavailable):
                await ours.call(lambda client: client.incr("text"))
            assert await ping(ours)
    [line] = caplog.records
    assert "refused a command (ResponseError" in line.getMessage()


async def test_a_read_only_server_is_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "_RETRY_PAUSE_SECONDS", 0.01)
    with redis_server(tmp_path) as server:
        async with shared(server.url) as ours:
            await ping(ours)
            execute(server, "REPLICAOF", "127.0.0.1", 1)
            with pytest.raises(RedisUnavailable):
                await ours.send(["k"], [("INCR", "k"), ("INCR", "k")])
            # A connection that is made now may lead to whoever has the name.
            assert not any(
                it.is_connected for it in ours._client.connection_pool._available_connections
            )
            execute(server, "REPLICAOF", "NO", "ONE")
            await asyncio.sleep(0.02)
            assert await ours.send(["k"], [("INCR", "k"), ("INCR", "k")]) == [1, 2]


async def test_sent_commands_return_all_replies_or_raise(one: RedisServer) -> None:
    async with shared(one.url) as ours:
        commands = [("SET", "a", b"text"), ("INCR", "a"), ("SET", "b", b"\xff")]
        with pytest.raises(RedisUnavailable):
            await ours.send(["a", "a", "b"], commands)
        # Nothing is left on the connection of what was not read.
        assert await ours.send(["a", "b"], [("GET", "a"), ("GET", "b")]) == [b"text", b"\xff"]
        assert await ours.send([], []) == []


async def test_commands_are_not_sent_twice(
    one: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "_RETRY_PAUSE_SECONDS", 0.01)
    async with CutsTheAnswer.of(one.port) as cutting, shared(cutting.url) as ours:
        await ours.call(lambda client: client.delete("once"))
        cutting.cuts = True
        with pytest.raises(RedisUnavailable):
            await ours.send(["once"], [("INCR", "once")])
        cutting.cuts = False
        await asyncio.sleep(0.02)
        assert await ours.send(["once"], [("GET", "once")]) == [b"1"]


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1", "rediss://127.0.0.1:1", "redis://h.invalid"]
)
async def test_an_unreachable_server_is_logged_at_the_start(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with shared(url):
            pass
    assert [it.getMessage().partition(" (")[0] for it in caplog.records] == ["Redis unavailable"]


def test_the_library_is_imported_only_when_needed() -> None:
    code = "import sys, proxy.app; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own command
