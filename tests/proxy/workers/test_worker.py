"""A worker, seen through its RPC connection."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.workers import bootstrap
from proxy.workers.bootstrap import BootstrapConfig, encode
from proxy.workers.rpc import Handler, RpcConnection
from tests.support.gateway import SETTINGS
from tests.support.worker_gateway import ROOT

CONFIG = BootstrapConfig(text=SETTINGS, file="my.yaml", host="127.0.0.1", port=0)


class Boss:
    """A scripted supervisor of one worker."""

    def __init__(self, process: asyncio.subprocess.Process, line: RpcConnection) -> None:
        self.process = process
        self.line = line
        self.told: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    def notes(self, name: str) -> Handler:
        async def note(payload: bytes) -> bytes:
            self.told.put_nowait((name, payload))
            return b""

        return note


@asynccontextmanager
async def worker(folder: Path, config: BootstrapConfig = CONFIG) -> AsyncIterator[Boss]:
    """Start a worker; its reports go to `told`."""

    async def begin(_: bytes) -> bytes:
        return encode(config)

    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "worker", str(theirs.fileno()), "1"),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=(theirs.fileno(),),
        )
    line = await RpcConnection.from_socket(ours, {bootstrap.BEGIN: begin})
    boss = Boss(process, line)
    for name in (bootstrap.LISTENING, bootstrap.FAILED):
        line.handlers[name] = boss.notes(name)
    try:
        yield boss
    finally:
        line.close()
        assert await asyncio.wait_for(process.wait(), 20) in (0, 1)


async def test_a_worker_reports_listening_and_exits_with_its_connection(tmp_path: Path) -> None:
    async with worker(tmp_path) as boss:
        assert await asyncio.wait_for(boss.told.get(), 20) == (bootstrap.LISTENING, b"")
        boss.line.close()
        assert await asyncio.wait_for(boss.process.wait(), 20) == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            BootstrapConfig(text="server: {prot: 1}", file="my.yaml", host="", port=0),
            "my.yaml:1: server.prot",
        ),
        (
            BootstrapConfig(text=SETTINGS, file="my.yaml", host="192.0.2.1", port=0),
            "cannot listen on ",
        ),
    ],
    ids=["settings", "address"],
)
async def test_a_worker_reports_why_it_cannot_start(
    tmp_path: Path, config: BootstrapConfig, message: str
) -> None:
    async with worker(tmp_path, config) as boss:
        name, said = await asyncio.wait_for(boss.told.get(), 20)
        assert name == bootstrap.FAILED
        assert said.decode().startswith(message)
        assert await asyncio.wait_for(boss.process.wait(), 20) == 1
