"""What relaying a 6 MB answer adds to the gateway's memory. Linux only: it reads /proc.

A provider that answers 6 MB of base64 and the gateway, through its real entry point, each run in a
process of their own. The gateway is warmed up with small answers, its peak is reset, one large
answer is relayed (verbatim, cache off), and the new peak is read.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web

KEY = "easel-bench-key-0123456789"
MB = 1024 * 1024
SMALL, LARGE = 100 * 1024, 6 * MB


def provider() -> None:
    """Serve answers of the size that the prompt names."""

    async def answer(request: web.Request) -> web.Response:
        size = int((await request.json())["prompt"])
        body = b'{"created":1,"data":[{"b64_json":"' + b"A" * size + b'"}]}'
        return web.Response(body=body, content_type="application/json")

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/images/generations", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sys.stdout.write(f"listening on http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    asyncio.run(main())


@asynccontextmanager
async def started(*command: str) -> AsyncIterator[tuple[int, str]]:
    """Run a Python server and give its process id and URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE
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


def memory(pid: int, field: str) -> int:
    """Read a field of /proc/PID/status in bytes: VmRSS is now, VmHWM the peak."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    if not found:
        raise RuntimeError(f"no {field} in /proc/{pid}/status")
    return int(found[1]) * 1024


async def fetch(session: aiohttp.ClientSession, url: str, size: int, pause: float) -> None:
    """Ask for an answer of a size and read it, `pause` seconds between two pieces."""
    headers = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "bench"}
    path = f"{url}/v1/images/generations"
    async with session.post(path, json={"prompt": str(size)}, headers=headers) as response:
        seen = 0
        while chunk := await response.content.readany():
            seen += len(chunk)
            await asyncio.sleep(pause)
    if response.status != 200 or seen < size:  # noqa: PLR2004 - HTTP's success
        raise RuntimeError(f"status {response.status}, {seen} bytes")


async def measured(pid: int, url: str, pause: float) -> int:
    """Give the bytes that one large answer adds to the peak."""
    async with aiohttp.ClientSession() as session:
        await fetch(session, url, SMALL, 0)
        before = memory(pid, "VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        await fetch(session, url, LARGE, pause)
        return memory(pid, "VmHWM") - before


async def run(rounds: int) -> None:
    """Measure several rounds and print the medians."""
    here = str(Path(__file__).resolve())
    with tempfile.TemporaryDirectory() as folder:
        async with started(here, "--provider") as (_, upstream):
            settings = Path(folder) / "bench.yaml"
            settings.write_text(
                f"api_keys: {{bench: {{key: {KEY}}}}}\n"
                "virtual_keys:\n"
                f"  bench: {{provider: openai, api_key: none, custom_host: {upstream}/v1}}\n"
                "log: {format: none}\n",
                encoding="utf-8",
            )
            serve = ("-m", "proxy", "serve", "--config", str(settings), "--port", "0")
            async with started(*serve) as (pid, url):
                async with aiohttp.ClientSession() as session:
                    for _ in range(50):
                        await fetch(session, url, SMALL, 0)
                idle = memory(pid, "VmRSS")
                fast = [await measured(pid, url, 0) for _ in range(rounds)]
                slow = [await measured(pid, url, 0.005) for _ in range(rounds)]
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.python_implementation()} "
        f"{platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    )
    print(f"idle, after 50 small answers:  {idle / MB:6.1f} MB")
    for name, values in (("fast", fast), ("slow", slow)):
        middle, most = statistics.median(values) / MB, max(values) / MB
        print(f"one 6 MB answer, {name} reader: {middle:+6.2f} MB (most: {most:+.2f}, n={rounds})")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--provider", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.provider:
        provider()
    else:
        asyncio.run(run(arguments.rounds))


if __name__ == "__main__":
    main()
