"""RPC connections, with both ends in one process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.workers import rpc
from proxy.workers.rpc import BROADCAST, Handler, Peers, RpcConnection, RpcError, call_all
from tests.support.waiting import forever


async def echo(payload: bytes) -> bytes:
    return payload


async def fail(payload: bytes) -> bytes:
    raise ValueError(payload)


async def hang(payload: bytes) -> bytes:
    await forever()
    return payload


@asynccontextmanager
async def pair(**handlers: Handler) -> AsyncIterator[tuple[RpcConnection, RpcConnection]]:
    """Yield both ends of a connection; the second has the handlers."""
    ours, theirs = socket.socketpair()
    first, second = (
        await RpcConnection.from_socket(ours),
        await RpcConnection.from_socket(theirs, handlers),
    )
    try:
        yield first, second
    finally:
        for it in (first, second):
            it.close()
            await it.closed.wait()
        for task in second._tasks:
            task.cancel()


async def test_each_side_calls_the_other() -> None:
    async with pair(echo=echo) as (first, second):
        first.handlers["twice"] = lambda payload: echo(2 * payload)
        assert await first.call("echo", b"abc") == b"abc"
        assert await second.call("twice", b"abc") == b"abcabc"


async def test_concurrent_calls_get_their_own_replies() -> None:
    async def late(payload: bytes) -> bytes:
        await asyncio.sleep(0.001 * (50 - int(payload)))
        return payload

    async with pair(late=late) as (first, _):
        said = await asyncio.gather(*(first.call("late", b"%d" % number) for number in range(50)))
        assert said == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("size", [0, 1, 65_535, 3 << 20])
async def test_split_frames_are_reassembled(size: int) -> None:
    async with pair(echo=echo) as (first, _):
        assert await first.call("echo", bytes(size)) == bytes(size)


async def test_a_failing_handler_fails_its_caller_without_the_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with pair(fail=fail, echo=echo) as (first, _):
        with pytest.raises(RpcError, match="failed at 'fail'"):
            await first.call("fail", b"sekret")
        with pytest.raises(RpcError):
            await first.call("nobody has this")
        assert await first.call("echo", b"still there") == b"still there"
    assert "ValueError" in caplog.text
    assert "sekret" not in caplog.text


async def test_sync_handlers_reply_or_fail_alike(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(payload: bytes) -> bytes:
        raise ValueError(payload)

    async with pair() as (first, second):
        second.sync_handlers |= {"twice": lambda payload: 2 * payload, "broken": broken}
        said = await asyncio.gather(*(first.call("twice", b"%d" % it) for it in range(50)))
        assert said == [b"%d" % it * 2 for it in range(50)]
        with pytest.raises(RpcError, match="failed at 'broken'"):
            await first.call("broken", b"sekret")
    assert "sekret" not in caplog.text


async def test_frames_sent_before_closing_arrive() -> None:
    got: list[bytes] = []

    async def note(payload: bytes) -> bytes:
        got.append(payload)
        return b""

    async with pair(note=note) as (first, second):
        calling = asyncio.create_task(first.call("note", b"last words"))
        await asyncio.sleep(0)
        first.close()
        await second.closed.wait()
        await asyncio.wait([calling])
        assert got == [b"last words"]


async def test_a_call_times_out() -> None:
    async with pair(hang=hang, echo=echo) as (first, _):
        with pytest.raises(RpcError, match="within"):
            await first.call("hang", timeout_seconds=0.01)
        assert await first.call("echo", b"x") == b"x"
        assert not first._pending


async def test_a_call_to_a_process_that_exits_fails() -> None:
    async with pair(hang=hang) as (first, second):
        waiting = asyncio.create_task(first.call("hang"))
        await asyncio.sleep(0.01)
        second.close()
        with pytest.raises(RpcError, match="gone"):
            await waiting
        await first.closed.wait()
        with pytest.raises(RpcError, match="gone"):
            await first.call("hang")


async def test_a_caller_that_is_cancelled_leaves_nothing_behind() -> None:
    async with pair(hang=hang) as (first, _):
        waiting = asyncio.create_task(first.call("hang"))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not first._pending


@pytest.mark.parametrize("sent", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02\xc1\xc1"])
async def test_an_invalid_frame_closes_the_connection(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        line = await RpcConnection.from_socket(ours)
        theirs.send(sent)
        await asyncio.wait_for(line.closed.wait(), 10)


async def test_a_frame_that_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_FRAME_BYTES", 1000)
    async with pair(echo=echo) as (first, _):
        with pytest.raises(RpcError, match="exceeds"):
            await first.call("echo", bytes(1001))
        assert await first.call("echo", bytes(100)) == bytes(100)


async def test_unsent_data_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_MAX_UNSENT_BYTES", 1 << 20)
    ours, theirs = socket.socketpair()
    with theirs:
        line = await RpcConnection.from_socket(ours)
        calls = [
            asyncio.create_task(line.call("x", bytes(1 << 20), timeout_seconds=0.05))
            for _ in range(9)
        ]
        done, _ = await asyncio.wait(calls)
        assert "the other process does not read" in {str(it.exception()) for it in done}
        assert line._unsent_bytes < 4 << 20
        line._abort()


async def test_call_all_leaves_out_failures() -> None:
    async with (
        pair(echo=echo) as (one, _),
        pair(echo=fail) as (two, _),
        pair(echo=echo) as (three, end),
    ):
        end.close()
        await three.closed.wait()
        assert await call_all([one, two, three], "echo", b"x") == [b"x"]


async def test_a_worker_broadcasts_through_the_supervisor() -> None:
    async def everybody(payload: bytes) -> bytes:
        assert payload == b"\x92\xa5count\xc4\x01x"
        return b"\x92\xc4\x011\xc4\x012"

    ours, theirs = socket.socketpair()
    supervisor, line = (
        await RpcConnection.from_socket(ours, {BROADCAST: everybody}),
        await RpcConnection.from_socket(theirs),
    )
    assert await Peers(line).broadcast("count", b"x") == [b"1", b"2"]
    supervisor.close()
    await line.closed.wait()
    with pytest.raises(RpcError):
        await Peers(line).broadcast("count")
