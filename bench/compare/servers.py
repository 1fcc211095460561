"""Processes: started, pinned to a core, measured. Linux only: it reads /proc."""

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

from processes import cpu, memory
from processes import reset_peak as reset_process_peak

UNDER_TEST, LOAD = 0, 1
"""CPU cores."""
_SECONDS_TO_START = 180
_SECONDS_TO_STOP = 5
_POLL_SECONDS = 0.005


class StartError(Exception):
    """A server did not start; the message ends with its last output."""


@dataclass(frozen=True)
class Server:
    """A running server. `started` is the start of its process, on the monotonic clock."""

    name: str
    url: str
    pid: int
    started: float

    @property
    def processes(self) -> list[int]:
        """The process and its descendants."""
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    found += map(int, task.read_text(encoding="ascii").split())
        return found

    def cpu(self) -> float:
        """Return the CPU seconds used."""
        return sum(map(cpu, self.processes))

    def memory(self, field: str = "VmRSS") -> int:
        """Return resident bytes, or with `VmHWM` their peak."""
        return sum(memory(pid, field) for pid in self.processes)

    def reset_peak(self) -> int:
        """Reset the peak; return the resident bytes."""
        return sum(map(reset_process_peak, self.processes))

    def files(self) -> int:
        """Return the number of open file descriptors."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.processes)


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Start processes on one core, if there are several; None: on all."""
    before = os.sched_getaffinity(0)
    if core in before and len(before) > 1:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def running(  # noqa: PLR0913 - a process has many options
    name: str,
    command: Sequence[str],
    port: int,
    *,
    core: int | None,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> AsyncIterator[Server]:
    """Start a server and wait until it listens; raise `StartError`. Its stderr goes to a file."""
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
        await _wait_until_listening(name, process, port, log)
        yield Server(name, f"http://127.0.0.1:{port}", process.pid, began)
    finally:
        await _stop(process)


async def _wait_until_listening(
    name: str, process: asyncio.subprocess.Process, port: int, log: Path
) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while process.returncode is None and time.monotonic() < deadline:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(_POLL_SECONDS)
    # Shorten paths to the file's name, because the message is published.
    output = re.sub(r"(?<!\S)/\S*/", "", log.read_text(encoding="utf-8", errors="replace"))
    raise StartError(f"{name} did not start: {' '.join(output.split())[-300:] or 'no output'}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_TO_STOP):
                await process.wait()
                return
