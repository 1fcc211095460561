"""Two nodes that restart in turn behind deploy/'s nginx and HAProxy, under load."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml

from proxy.cli.health import READINESS_PATH, HealthCheckError, check
from tests.deploy.balancers import haproxy, nginx
from tests.deploy.tools import DEPLOY, ROOT
from tests.support.gateway import OURS, PATH, SETTINGS

DRAIN = yaml.safe_load((DEPLOY / "compose" / "easel.yaml").read_text())["server"]["drain_seconds"]
BOX = {**OURS, "x-portkey-virtual-key": "box"}
CLIENTS = 12


@dataclass
class Node:
    """A gateway in a process of its own, that is started again at the same port."""

    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "easel.yaml"
        server = f"server: {{port: {self.port}, drain_seconds: {DRAIN}, shutdown_seconds: 60}}\n"
        # What was delivered is not what this is about.
        more = "virtual_keys: {box: {provider: sandbox}}\njobs: {result_ttl_seconds: 1}\n"
        file.write_text(SETTINGS + more + server)
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "proxy", "serve", "--config", str(file)),
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(self.is_ready):  # noqa: ASYNC110 - another process
                assert self.process.returncode is None, (self.folder / "log").read_text()
                await asyncio.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            return check(f"http://{self.address}", READINESS_PATH, seconds=5) == "ready"
        except HealthCheckError:
            return False

    async def stop(self) -> None:
        """Shut it down gracefully."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.process.wait(), 60) == 0

    async def end(self) -> None:
        """End it at once."""
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@dataclass
class Load:
    """Clients that order one picture after the other, and ask for none again."""

    urls: list[str]
    seen: Counter[str] = field(default_factory=Counter)
    over: bool = False

    async def run(self, session: aiohttp.ClientSession, number: int) -> None:
        url, count = self.urls[number % len(self.urls)] + PATH, 0
        while not self.over:
            count += 1
            body = {"prompt": f"{number}-{count}", "size": "64x64", "latency_ms": 90 * (number + 1)}
            try:
                async with session.post(url, json=body, headers=BOX) as got:
                    good = got.status == 200 and b"b64_json" in await got.read()
                    self.seen["good" if good else f"{url} {got.status}"] += 1
            except aiohttp.ClientError as error:
                self.seen[f"{url} {type(error).__name__}"] += 1


def free_port() -> int:
    """Return a port that stays free while its node is down.

    The system hands out those from 32,768 on to whoever connects to somebody, also in between.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - no secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


async def test_no_request_fails_while_one_node_after_the_other_restarts(tmp_path: Path) -> None:
    nodes = [Node(tmp_path / name, free_port()) for name in ("one", "two")]
    async with AsyncExitStack() as stack:
        for node in nodes:
            await node.start()
            stack.push_async_callback(node.end)
        urls = []
        for run in (nginx, haproxy):
            (folder := tmp_path / run.__name__).mkdir()
            balancer = stack.enter_context(run(folder, [it.address for it in nodes]))
            urls.append(balancer.url)
        load = Load(urls)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        clients = [asyncio.create_task(load.run(session, it)) for it in range(CLIENTS)]
        for node in nodes:
            await node.stop()
            await node.start()
            # HAProxy looks once a second: it must have seen this one before the next one goes.
            await asyncio.sleep(2)
        load.over = True
        await asyncio.gather(*clients)
        assert load.seen.keys() == {"good"}
