"""Two gateways behind a real nginx that keeps connections: restarts under load lose no request.

nginx is Debian's, as in `test_behind_nginx`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.support.gateway import PATH, SETTINGS
from tests.support.nginx import nginx
from tests.support.single_gateway import BOX, ROOT, SANDBOX

CLIENTS = 16
DRAINING, KEPT = "drain_seconds: 1.5", "500ms"
"""nginx gives up what idles before the nodes do: else it may order on what is being closed."""
SHORTEST_MS, LONGEST_MS = 20, 300
UPSTREAM = """
    upstream easel {{
        server 127.0.0.1:{ports[0]} {fails};
        server 127.0.0.1:{ports[1]} {fails};
        keepalive 32;
        keepalive_timeout {kept};
    }}
"""
KEEPING = """
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host localhost;
"""


@dataclass
class Node:
    """A gateway that is started again at the same port."""

    folder: Path
    workers: int
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        file, log = self.folder / "easel.yaml", (self.folder / "log").open("ab")
        server = f"server: {{port: {self.port}, workers: {self.workers}, {DRAINING}}}\n"
        file.write_text(SETTINGS + SANDBOX + server + "jobs: {result_ttl_seconds: 1}\n")
        with log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "proxy", "serve", "--config", str(file)),
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(20):
            while not await self.answers():  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def stop(self) -> None:
        """Have it stop in order."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.process.wait(), 20) == 0


@dataclass
class Load:
    """Clients that order one picture after the other, each told what became of it."""

    url: str
    seen: Counter[str] = field(default_factory=Counter)
    over: bool = False

    async def run(self, session: aiohttp.ClientSession, latency_ms: int) -> None:
        """Order until it is over, and rest as long as each took; nothing is sent again."""
        count = 0
        while not self.over:
            count += 1
            asked = {"prompt": f"{latency_ms}-{count}", "size": "64x64", "latency_ms": latency_ms}
            try:
                async with session.post(self.url + PATH, json=asked, headers=BOX) as got:
                    body = await got.read()
                    good = got.status == 200 and b"b64_json" in body
                    self.seen["good" if good else str(got.status)] += 1
            except aiohttp.ClientError as error:
                self.seen[type(error).__name__] += 1
            await asyncio.sleep(latency_ms / 1000)


@asynccontextmanager
async def cluster(folder: Path, workers: int) -> AsyncIterator[tuple[str, list[Node]]]:
    """Start two nodes, and nginx before them."""
    nodes = []
    async with AsyncExitStack() as stack:
        for name in ("one", "two"):
            (folder / name).mkdir()
            with socket.create_server(("127.0.0.1", 0)) as free:
                nodes.append(Node(folder / name, workers, free.getsockname()[1]))
        for node in nodes:
            await node.start()
            stack.push_async_callback(node.stop)
        upstream = UPSTREAM.format(ports=[it.port for it in nodes], kept=KEPT, fails="max_fails=0")
        yield stack.enter_context(nginx(folder, "http://easel", upstream, KEEPING)), nodes


async def test_no_order_is_lost_while_nodes_restart(tmp_path: Path) -> None:
    async with (
        cluster(tmp_path, 2) as (url, nodes),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        load = Load(url)
        step = (LONGEST_MS - SHORTEST_MS) // CLIENTS
        latencies = range(SHORTEST_MS, LONGEST_MS, step)
        clients = [asyncio.create_task(load.run(session, it)) for it in latencies]
        for node in nodes:
            before = load.seen["good"]
            await node.stop()
            await node.start()
            while load.seen["good"] < before + CLIENTS:  # noqa: ASYNC110 - a condition of many
                await asyncio.sleep(0.05)
        load.over = True
        await asyncio.gather(*clients)
        assert load.seen.keys() == {"good"}


@dataclass
class CutsTheSecond:
    """A server that answers the first request of a connection, and hangs up at the second."""

    heard: list[bytes] = field(default_factory=list)
    talks: set[asyncio.Task[None]] = field(default_factory=set)

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.add(asyncio.create_task(self.talk(reader, writer)))

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            for answer in (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b""):
                head = await reader.readuntil(b"\r\n\r\n")
                self.heard.append(head.partition(b" ")[0])
                writer.write(answer)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("method", "more", "status"),
    [
        ("GET", "", 200),
        ("POST", "", 502),
        ("POST", "proxy_next_upstream error non_idempotent;", 200),
    ],
)
async def test_nginx_sends_no_order_twice_unless_it_is_told_to(
    tmp_path: Path, method: str, more: str, status: int
) -> None:
    cutting = CutsTheSecond()
    server = await asyncio.start_server(cutting.take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = UPSTREAM.format(ports=[port, port], kept=KEPT, fails="max_fails=0")
    seen = []
    async with server, aiohttp.ClientSession() as session:
        with nginx(tmp_path, "http://easel", upstream, KEEPING + more) as url:
            for _ in range(2):
                async with session.request(method, url) as got:
                    seen.append(got.status)
        await asyncio.gather(*cutting.talks)
    assert seen == [200, status]
    assert len(cutting.heard) == (2 if status != 200 else 3)
