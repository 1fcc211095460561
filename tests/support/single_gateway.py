"""A gateway of one process, started as users do."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from tests.support.gateway import ANSWER, KEY, OURS, PATH, SETTINGS, Provider, provider
from tests.support.process_log import messages

ROOT = Path(__file__).parents[2]
SANDBOX = "virtual_keys: {box: {provider: sandbox}}\n"
BOX = {**OURS, "x-portkey-virtual-key": "box"}


@dataclass
class Running:
    """A gateway in a process of its own."""

    url: str
    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession

    def tell(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit status, standard output, the process log's messages."""
        out, err = await asyncio.wait_for(self.process.communicate(), 20)
        return self.process.returncode or 0, out.decode(), messages(err.decode())

    def drawing(self, latency_ms: int) -> asyncio.Task[int]:
        """Ask for a picture that takes a while; gives the status, 0 if the connection was cut."""
        return asyncio.ensure_future(
            self._drawn({"prompt": "a sekret cube", "size": "64x64"}, latency_ms)
        )

    async def _drawn(self, body: dict[str, Any], latency_ms: int) -> int:
        try:
            asked = {**body, "latency_ms": latency_ms}
            async with self.session.post(self.url + PATH, json=asked, headers=BOX) as got:
                return got.status if (await got.json())["data"] else -1
        except aiohttp.ClientError:
            return 0

    async def refuses_connections(self) -> bool:
        """Whether the gateway has closed its listener."""
        address = URL(self.url)
        try:
            _, writer = await asyncio.open_connection(address.host, address.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    async def ready(self) -> int:
        async with self.session.get(self.url + "/readyz") as got:
            return got.status


@contextmanager
def slow_reader(url: str) -> Iterator[Callable[[], bytes]]:
    """Ask for a picture on a connection that takes in little until `read` is called."""
    address = URL(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect((address.host, address.port))
        head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nx-portkey-api-key: {KEY}\r\n"
        head += "x-portkey-config: kept\r\ncontent-type: application/json\r\n"
        client.sendall(head.encode() + b'content-length: 14\r\n\r\n{"prompt":"x"}')
        yield lambda: b"".join(iter(lambda: client.recv(1 << 20), b""))


@asynccontextmanager
async def running(folder: Path, settings: str = SANDBOX) -> AsyncIterator[Running]:
    """Start a gateway as users do, on a free port."""
    file = folder / "easel.yaml"
    file.write_text(SETTINGS + settings)
    async with started(folder, "--config", str(file), "--port", "0") as (process, said):
        found = re.search(r"https?://\S+", said)
        assert found
        async with aiohttp.ClientSession() as session:
            yield Running(found[0], process, session)


@asynccontextmanager
async def started(
    folder: Path, *options: str, **environ: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `easel serve` in a folder; gives the process, and the first line that it says."""
    command = ("-m", "proxy", "serve", *options)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        yield process, (await process.stdout.readline()).decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


CUBE = {"prompt": "a cube"}


@asynccontextmanager
async def slow_provider(answer: bytes = orjson.dumps(ANSWER)) -> AsyncIterator[Provider]:
    """Run a provider that takes its time for a picture."""

    async def slow(request: web.Request) -> web.Response:
        del request
        await asyncio.sleep(0.7)
        return web.Response(body=answer, content_type="application/json")

    async with provider(slow) as fake:
        yield fake


def led_to(fake: Provider, more: str = "") -> str:
    return f"virtual_keys: {{box: {{provider: openai, custom_host: {fake.url}/v1}}}}\n{more}"


async def asked(easel: Running, **headers: str) -> tuple[int, bytes]:
    """Ask for the same picture once more."""
    named = {**BOX, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with easel.session.post(easel.url + PATH, json=CUBE, headers=named) as got:
        return got.status, await got.read()


async def found(easel: Running, place: str) -> tuple[int, bytes]:
    """Collect a job by its place."""
    async with easel.session.get(easel.url + place, headers=OURS) as got:
        return got.status, await got.read()
