"""Redis, stopped, stuck and started again: nobody waits long, and the operator is told once."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy import redis_client
from proxy.redis_client import RedisAway, SharedRedis
from proxy.sections import Redis
from tests.redis_server import RedisServer, redis_server

TIMEOUT = 0.3
SECRET = "sekret-sekret-sekret"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@asynccontextmanager
async def shared(url: str) -> AsyncIterator[SharedRedis]:
    async with SharedRedis(Redis(url=url, timeout_seconds=TIMEOUT)) as ours:
        yield ours


async def ping(ours: SharedRedis) -> Any:
    return await ours.ask(lambda client: client.ping())


async def is_away(ours: SharedRedis) -> bool:
    with pytest.raises(RedisAway):
        await ping(ours)
    return True


async def test_what_is_asked_is_answered_in_bytes(one: RedisServer) -> None:
    async with shared(one.url) as ours:
        script = ours.script("return {ARGV[1], KEYS[1]}")
        for _ in range(2):
            got = await ours.run(script, [ours.key("test", "a")], [b"\xff"])
            assert got == [b"\xff", b"{easel:test}:a"]


async def test_one_that_restarts_is_told_of_once_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_client, "_PAUSE_SECONDS", 0.01)
    with redis_server(tmp_path) as server:
        async with shared(server.url) as ours:
            script = ours.script("return 1")
            assert await ours.run(script, [], []) == 1
            server.stop()
            for _ in range(3):
                assert await is_away(ours)
                await asyncio.sleep(0.02)
            server.start()
            await asyncio.sleep(0.02)
            # It has forgotten the script, too.
            assert [await ours.run(script, [], []) for _ in range(2)] == [1, 1]
    told = [(it.levelname, it.getMessage()) for it in caplog.records if it.name == "easel"]
    assert told == [
        ("ERROR", "Redis is away (ConnectionError): what is shared there is done without"),
        ("WARNING", "Redis is back"),
    ]
    assert not any(it.exc_info for it in caplog.records)


async def test_one_that_restarts_unseen_is_not_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        async with shared(server.url) as ours:
            server.stop()
            server.start()
            assert await ping(ours)
    assert not caplog.records


async def test_one_that_is_stuck_costs_one_timeout_and_then_nothing(
    one: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared(one.url) as ours:
        with one.stuck():
            for most in (TIMEOUT + 0.2, 0.1):
                began = time.monotonic()
                assert await is_away(ours)
                assert time.monotonic() - began < most
    assert [it.name for it in caplog.records] == ["easel"]


async def test_many_who_ask_a_stuck_one_wait_no_longer_than_the_timeout(one: RedisServer) -> None:
    async with shared(one.url) as ours:
        with one.stuck():
            began = time.monotonic()
            got = await asyncio.gather(*(ping(ours) for _ in range(100)), return_exceptions=True)
            assert time.monotonic() - began < 3 * TIMEOUT
            assert {type(it) for it in got} == {RedisAway}
            # No connection is lost to the pool.
            assert not ours._client.connection_pool._in_use_connections


async def test_only_one_tries_whether_it_is_back(one: RedisServer) -> None:
    async with shared(one.url) as ours:
        with one.stuck():
            assert await is_away(ours)
            ours._asked_again = 0.0
            trying = asyncio.create_task(ping(ours))
            await asyncio.sleep(0)
            began = time.monotonic()
            assert await is_away(ours)
            assert time.monotonic() - began < TIMEOUT / 2
        assert await trying


async def test_a_wrong_password_is_told_without_it(
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


async def test_a_refusal_is_told_once_and_keeps_nothing_else_from_working(
    one: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared(one.url) as ours:
        await ours.ask(lambda client: client.set("text", "a"))
        for _ in range(3):
            with pytest.raises(RedisAway):
                await ours.ask(lambda client: client.incr("text"))
            assert await ping(ours)
    [line] = caplog.records
    assert "refuses (ResponseError" in line.getMessage()


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1", "rediss://127.0.0.1:1", "redis://h.invalid"]
)
async def test_one_that_never_was_there_is_told_at_the_start(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with shared(url):
            pass
    assert [it.getMessage()[:13] for it in caplog.records] == ["Redis is away"]


def test_the_library_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, proxy.app; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own command
