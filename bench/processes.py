"""The gateway and what it talks to, each in a process of its own, and what they use. Linux only.

A script is run twice: as itself, and by itself with `--server`, to serve what the gateway is to
talk to.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

KEY = "easel-bench-key-0123456789"
OTHER_KEY = "easel-other-bench-key-0123456789"
MB = 1024 * 1024
_TICK = os.sysconf("SC_CLK_TCK")


def command(
    doc: str | None,
    serves: Callable[[str], web.Application],
    run: Callable[[float], Coroutine[None, None, None]],
    option: tuple[str, float, str],
) -> None:
    """Parse the command line; then measure, or serve what the measuring process has asked for.

    `option` is the measurement's own: its name, its default, what it means.
    """
    name, default, about = option
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument(f"--{name}", dest="much", type=type(default), default=default, help=about)
    parser.add_argument("--server", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.server:
        asyncio.run(_serve(serves(arguments.server)))
        return
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.python_implementation()} "
        f"{platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    )
    asyncio.run(run(arguments.much))


async def _serve(app: web.Application) -> None:
    # A client that is gone ends its handler.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"listening on http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[tuple[int, str]]:
    """Run a Python server and give its process id and URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("no pipe to read the server's URL from")
        while line := (await process.stdout.readline()).decode():
            if found := re.search(r"http://\S+", line):
                yield process.pid, found[0]
                return
        raise RuntimeError("the server did not start")
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def gateway(
    script: str, folder: str, *, speaks: str = "openai", at: str = "/v1", more: str = ""
) -> AsyncIterator[tuple[int, str, str]]:
    """Run a script's server, and the gateway in front of it, through its real entry point.

    Gives the gateway's process id and URL, and the server's URL. The virtual key `bench` leads to
    the provider `speaks` at the path `at` of the server; `more` are further settings.
    """
    settings = Path(folder) / "bench.yaml"
    async with started(script, "--server", folder) as (_, upstream):
        settings.write_text(
            f"api_keys: {{bench: {{key: {KEY}}}, other: {{key: {OTHER_KEY}}}}}\n"
            "virtual_keys:\n"
            f"  bench: {{provider: {speaks}, api_key: none, custom_host: {upstream}{at}}}\n"
            f"state_dir: {folder}\n"
            f"log: {{format: none}}\n{more}",
            encoding="utf-8",
        )
        serve = ("-m", "proxy", "serve", "--config", str(settings), "--port", "0")
        async with started(*serve) as (pid, url):
            yield pid, url, upstream


def memory(pid: int, field: str) -> int:
    """Read a field of /proc/PID/status in bytes: VmRSS is now, VmHWM the peak."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    if not found:
        raise RuntimeError(f"no {field} in /proc/{pid}/status")
    return int(found[1]) * 1024


def reset(pid: int) -> int:
    """Give what is resident now, and let the peak begin there."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return memory(pid, "VmRSS")


def cpu(pid: int) -> float:
    """Give the seconds of CPU that a process has used, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def tell(what: str, values: Sequence[float]) -> None:
    """Print the median and the most of bytes that were added."""
    middle, most = statistics.median(values) / MB, max(values) / MB
    print(f"{what}: {middle:+6.2f} MB (most: {most:+.2f}, n={len(values)})")
