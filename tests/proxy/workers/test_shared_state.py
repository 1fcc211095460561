"""Shared state of workers: saved between supervisors; workers continue without it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from proxy.state.ops import Get, Set, StoreClosed, StoreUnavailable
from proxy.workers.rpc import RpcConnection
from proxy.workers.shared_state import EXECUTE, RpcStateStore, StateServer


async def test_the_next_supervisor_restores_the_state(tmp_path: Path) -> None:
    first, second, third = StateServer(), StateServer(), StateServer()
    await first.memory.execute(Set("k", b"v", 60))
    first.save(str(tmp_path / "state"))
    assert (tmp_path / "state" / "hub").stat().st_mode & 0o777 == 0o600
    second.restore(str(tmp_path / "state"))
    third.restore(str(tmp_path / "state"))
    assert [await it.memory.execute(Get("k")) for it in (second, third)] == [[b"v"], [None]]


@pytest.mark.parametrize("damaged", [b"", b"\xc1", b"\x81\xa1k\x01"])
async def test_a_damaged_file_is_logged_once_and_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: bytes
) -> None:
    (tmp_path / "hub").write_bytes(damaged)
    for _ in range(2):
        StateServer().restore(str(tmp_path))
    assert len(caplog.messages) == 1
    assert "cannot restore shared state" in caplog.text


async def test_an_unusable_state_dir_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "occupied").touch()
    server = StateServer()
    server.restore(str(tmp_path / "occupied"))
    server.save(str(tmp_path / "occupied"))
    assert len(caplog.messages) == 1
    await server.memory.execute(Set("k", b"v", 60))
    server.save(str(tmp_path / "occupied"))
    assert [it.rpartition(": ")[2] for it in caplog.messages] == ["Not a directory"] * 2


async def test_an_unavailable_supervisor_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = socket.socketpair()
    supervisor, line = (
        await RpcConnection.from_socket(ours),
        await RpcConnection.from_socket(theirs),
    )
    supervisor.sync_handlers[EXECUTE] = StateServer().execute
    shared = RpcStateStore(line)
    assert list(await shared.execute(Get("k"))) == [None]
    supervisor.close()
    await line.closed.wait()
    for _ in range(2):
        with pytest.raises(StoreClosed):
            await shared.execute(Get("k"))
    assert len(caplog.messages) == 1


async def test_a_supervisor_that_responds_again_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, theirs = socket.socketpair()
    supervisor, line = (
        await RpcConnection.from_socket(ours),
        await RpcConnection.from_socket(theirs),
    )
    shared = RpcStateStore(line)
    with pytest.raises(StoreUnavailable) as raised:
        await shared.execute(Get("k"))
    assert not isinstance(raised.value, StoreClosed)
    supervisor.sync_handlers[EXECUTE] = StateServer().execute
    assert list(await shared.execute(Get("k"))) == [None]
    assert caplog.messages[-1] == "supervisor available again"
    supervisor.close()
    await line.closed.wait()
