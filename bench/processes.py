"""Runs a gateway and its provider, each in a process, and measures them. Linux only.

A benchmark script runs twice: as itself, and as a subprocess with `--server` to serve the provider.
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
    make_server: Callable[[str], web.Application],
    run: Callable[[float], Coroutine[None, None, None]],
    option: tuple[str, float, str],
) -> None:
    """Parse the command line; then measure, or serve for the measuring process.

    `option` is the script's own option: name, default, help.
    """
    name, default, about = option
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument(f"--{name}", dest="amount", type=type(default), default=default, help=about)
    parser.add_argument("--server", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.server:
        asyncio.run(_serve(make_server(arguments.server)))
        return
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.python_implementation()} "
        f"{platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    )
    asyncio.run(run(arguments.amount))


async def _serve(app: web.Application) -> None:
    # Cancel the handler when its client disconnects.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"listening on http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@asynccontextmanager
async def run_server(*arguments: str) -> AsyncIterator[tuple[int, str]]:
    """Run a Python server; yield its process id and URL."""
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
    script: str, folder: str, *, provider_id: str = "openai", at: str = "/v1", settings: str = ""
) -> AsyncIterator[tuple[int, str, str]]:
    """Run a script's server, and a gateway in front of it, through its real entry point.

    Yields the gateway's process id and URL, and the server's URL. The virtual key `bench` uses the
    provider `provider_id` at the path `at` of the server; `settings` is additional YAML.
    """
    file = Path(folder) / "bench.yaml"
    async with run_server(script, "--server", folder) as (_, upstream):
        file.write_text(
            f"api_keys: {{bench: {{key: {KEY}}}, other: {{key: {OTHER_KEY}}}}}\n"
            "virtual_keys:\n"
            f"  bench: {{provider: {provider_id}, api_key: none, custom_host: {upstream}{at}}}\n"
            f"state_dir: {folder}\n"
            f"log: {{format: none}}\n{settings}",
            encoding="utf-8",
        )
        serve = ("-m", "proxy", "serve", "--config", str(file), "--port", "0")
        async with run_server(*serve) as (pid, url):
            yield pid, url, upstream


def memory(pid: int, field: str) -> int:
    """Return a field of /proc/PID/status in bytes: VmRSS is the current size, VmHWM the peak."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    if not found:
        raise RuntimeError(f"no {field} in /proc/{pid}/status")
    return int(found[1]) * 1024


def reset_peak(pid: int) -> int:
    """Reset the peak; return the resident bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return memory(pid, "VmRSS")


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def print_memory(what: str, values: Sequence[float]) -> None:
    """Print the median and the maximum of the added bytes."""
    median, maximum = statistics.median(values) / MB, max(values) / MB
    print(f"{what}: {median:+6.2f} MB (maximum: {maximum:+.2f}, n={len(values)})")
