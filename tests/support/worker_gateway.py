"""A gateway with several workers, started from the command line."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM, Signals

import aiohttp

from tests.support.gateway import OURS, PATH, SETTINGS
from tests.support.process_log import messages

ROOT = Path(__file__).parents[2]
SANDBOX = "virtual_keys: {box: {provider: sandbox}}\n"
BOX = {**OURS, "x-portkey-virtual-key": "box"}
_LISTENS = "0A"
_LOOK_AGAIN_SECONDS = 0.02


@dataclass
class WorkerGateway:
    """A supervisor and its workers. `err` is their process log so far: the messages."""

    url: str
    process: asyncio.subprocess.Process
    folder: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def err(self) -> str:
        return messages((self.folder / "err").read_text())

    @property
    def workers(self) -> list[int]:
        """The process ids of the running workers, sorted."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return sorted(int(pid) for task in tasks for pid in task.read_text().split())

    @property
    def listeners(self) -> set[int]:
        """The process ids of the workers that are listening."""
        return {pid for pid in self.workers if _sockets(pid) & _listening(self.port)}

    def write(self, settings: str) -> None:
        """Write the settings file."""
        (self.folder / "easel.yaml").write_text(SETTINGS + settings)

    def send_signal(self, number: Signals = SIGTERM) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the supervisor to exit; return the exit status."""
        return await asyncio.wait_for(self.process.wait(), 20)

    async def generate(self, latency_ms: int = 0, *, again: bool = False, **more: object) -> int:
        """Generate an image on a new connection; return the status, 0 if it was cut."""
        body = {"prompt": "a cube", "size": "64x64", **more}
        body |= {"latency_ms": latency_ms} if latency_ms else {}
        headers = BOX | ({"x-stainless-retry-count": "1"} if again else {})
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(self.url + PATH, json=body, headers=headers) as got,
            ):
                await got.read()
                return got.status
        except aiohttp.ClientError:
            return 0

    async def cache_status(self, config: str) -> str:
        """Request the same image with a config; return the cache status."""
        headers = OURS | {"x-portkey-config": config}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + PATH, json={"prompt": "a cube"}, headers=headers) as got,
        ):
            await got.read()
            return got.headers["x-portkey-cache-status"]


def _listening(port: int) -> set[str]:
    """Return the inodes of the sockets listening on a port."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == _LISTENS and row[1].endswith(f":{port:04X}")}


def _sockets(pid: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    found = set()
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(file).removeprefix("socket:[").rstrip("]"))  # noqa: PTH115 - it leads to no path
    return found


async def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - processes tell nobody
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def is_running(pid: int) -> bool:
    """Whether a process is running."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@asynccontextmanager
async def started(
    folder: Path, settings: str = SANDBOX, *options: str, keyless: bool = False
) -> AsyncIterator[WorkerGateway]:
    """Start `easel serve` with two workers, or with other options; it may fail to start."""
    (folder / "easel.yaml").write_text(settings if keyless else SETTINGS + settings)
    options = options or ("--workers", "2")
    command = ("-m", "proxy", "serve", "--config", "easel.yaml", "--port", "0", *options)
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=err,
        )
    easel = WorkerGateway("", process, folder)
    try:
        yield easel
    finally:
        workers = easel.workers if process.returncode is None else []
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await wait_until(lambda: not any(map(is_running, workers)))


@asynccontextmanager
async def running(
    folder: Path, settings: str = SANDBOX, *options: str, keyless: bool = False
) -> AsyncIterator[WorkerGateway]:
    """Start a gateway and wait until it is listening."""
    async with started(folder, settings, *options, keyless=keyless) as easel:
        await wait_until(lambda: easel.process.returncode is not None or _banner(folder))
        found = _banner(folder)
        assert found, easel.err
        easel.url = found[1]
        yield easel


def _banner(folder: Path) -> re.Match[str] | None:
    return re.search(r"is listening on (http://\S+)\n", (folder / "out").read_text())
