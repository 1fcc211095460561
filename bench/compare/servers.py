"""Processes: started, pinned to a core, watched. Linux only: it reads /proc."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from processes import cpu, memory, reset

UNDER_TEST, LOAD = 0, 1
"""The cores."""
_SECONDS_TO_START = 180
_SECONDS_TO_STOP = 5
_LOOK_AGAIN = 0.005


class StartError(Exception):
    """A server did not start; the message says what it printed last."""


@dataclass(frozen=True)
class Server:
    """A running server. `started` is when its process was begun, on the monotonic clock."""

    name: str
    url: str
    pid: int
    started: float

    @property
    def processes(self) -> list[int]:
        """The process, and those that it has begun."""
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    found += map(int, task.read_text(encoding="ascii").split())
        return found

    def cpu(self) -> float:
        """Give the seconds of CPU that it has used."""
        return sum(map(cpu, self.processes))

    def memory(self, field: str = "VmRSS") -> int:
        """Give the bytes that are resident, or with `VmHWM` the most that were."""
        return sum(memory(pid, field) for pid in self.processes)

    def reset_peak(self) -> int:
        """Let the peak begin at what is resident now, and give that."""
        return sum(map(reset, self.processes))

    def files(self) -> int:
        """Give how many file descriptors are open."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.processes)


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Start processes on a core, if there is more than one; None is on all of them."""
    before = os.sched_getaffinity(0)
    if core in before and len(before) > 1:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def running(  # noqa: PLR0913 - what a process has to be told
    name: str,
    command: Sequence[str],
    port: int,
    *,
    core: int | None,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> AsyncIterator[Server]:
    """Run a server until it listens; raises `StartError`. What it complains of is in a file."""
    log = folder / f"{name}.err"
    with log.open("wb") as errors, on_core(core):
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, **(environ or {})},
            cwd=cwd,
            start_new_session=True,
        )
    try:
        await _listening(name, process, port, log)
        yield Server(name, f"http://127.0.0.1:{port}", process.pid, began)
    finally:
        await _stopped(process)


async def _listening(name: str, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while process.returncode is None and time.monotonic() < deadline:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(_LOOK_AGAIN)
    # Of a path only the file's name: where it lies is nobody's business.
    told = re.sub(r"(?<!\S)/\S*/", "", log.read_text(encoding="utf-8", errors="replace"))
    raise StartError(f"{name} did not start: {' '.join(told.split())[-300:] or 'it said nothing'}")


async def _stopped(process: asyncio.subprocess.Process) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_TO_STOP):
                await process.wait()
                return
