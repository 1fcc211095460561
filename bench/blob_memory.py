"""What keeping a 64 MB picture, and serving it again, adds to memory. Linux only: it reads /proc.

The gateway's application, with a route that keeps what it is sent, runs in a process of its own. It
is warmed up with small pictures and one large one, its peak is reset, one large picture is stored
or fetched, and the new peak is read.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web
from relay_memory import KEY, MB, memory, started

from proxy.app import make_app
from proxy.blobs.keeping import kept
from proxy.settings import parse

SMALL, LARGE = 128 * 1024, 64 * MB
CHUNK = 64 * 1024


def server(folder: str) -> None:
    """Serve a gateway whose pictures lie in a folder, and that keeps what it is sent."""

    async def keep(request: web.Request) -> web.Response:
        return web.Response(text=await kept(request, request.content.iter_any(), ""))

    async def main() -> None:
        settings = parse(
            f"api_keys: {{bench: {{key: {KEY}}}}}\nstate_dir: {folder}\nlog: {{format: none}}"
        )
        app = make_app(settings)
        app.router.add_post("/keep", keep)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sys.stdout.write(f"listening on http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    asyncio.run(main())


async def picture(size: int) -> AsyncIterator[bytes]:
    """Give bytes that begin as a PNG does."""
    yield b"\x89PNG\r\n\x1a\n".ljust(CHUNK, b"\0")
    for _ in range(size // CHUNK - 1):
        yield bytes(CHUNK)


async def store(session: aiohttp.ClientSession, url: str, size: int) -> str:
    """Store a picture of a size; gives its URL."""
    headers = {"x-portkey-api-key": KEY}
    async with session.post(f"{url}/keep", data=picture(size), headers=headers) as response:
        response.raise_for_status()
        return await response.text()


async def fetch(session: aiohttp.ClientSession, url: str, pause: float) -> None:
    """Read a picture, `pause` seconds between two pieces."""
    seen = 0
    async with session.get(url) as response:
        while chunk := await response.content.readany():
            seen += len(chunk)
            await asyncio.sleep(pause)
    if seen < SMALL:
        raise RuntimeError(f"status {response.status}, {seen} bytes")


def reset(pid: int) -> int:
    """Give what is resident now, and let the peak begin there."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return memory(pid, "VmRSS")


async def run(rounds: int) -> None:
    """Measure several rounds and print the medians."""
    here = str(Path(__file__).resolve())
    added: dict[str, list[float]] = {"stored": [], "served": [], "served slowly": []}
    with tempfile.TemporaryDirectory() as folder:
        async with started(here, "--server", folder) as (pid, url), aiohttp.ClientSession() as ours:
            for size in [SMALL] * 50 + [LARGE]:
                await fetch(ours, await store(ours, url, size), 0)
            idle = memory(pid, "VmRSS")
            for _ in range(rounds):
                before = reset(pid)
                link = await store(ours, url, LARGE)
                added["stored"].append(memory(pid, "VmHWM") - before)
                for name, pause in (("served", 0.0), ("served slowly", 0.005)):
                    before = reset(pid)
                    await fetch(ours, link, pause)
                    added[name].append(memory(pid, "VmHWM") - before)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.python_implementation()} "
        f"{platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    )
    print(f"idle, after 50 small pictures and a large one: {idle / MB:6.1f} MB")
    for name, values in added.items():
        middle, most = statistics.median(values) / MB, max(values) / MB
        print(f"one 64 MB picture {name}: {middle:+6.2f} MB (most: {most:+.2f}, n={rounds})")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--server", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.server:
        server(arguments.server)
    else:
        asyncio.run(run(arguments.rounds))


if __name__ == "__main__":
    main()
