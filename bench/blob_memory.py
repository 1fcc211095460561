"""What keeping a 64 MB picture, and serving it again, adds to memory. Linux only: it reads /proc.

The gateway's application, with a route that keeps what it is sent, runs in a process of its own. It
is warmed up with small pictures and one large one, its peak is reset, one large picture is stored
or fetched, and the new peak is read.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from processes import KEY, MB, command, memory, reset, started, tell

from proxy.app import make_app
from proxy.blobs.publish import publish
from proxy.settings.loader import parse

SMALL, LARGE = 128 * 1024, 64 * MB
CHUNK = 64 * 1024


def server(folder: str) -> web.Application:
    """Serve a gateway whose pictures lie in a folder, and that keeps what it is sent."""

    async def keep(request: web.Request) -> web.Response:
        return web.Response(text=await publish(request, request.content.iter_any(), ""))

    app = make_app(
        parse(f"api_keys: {{bench: {{key: {KEY}}}}}\nstate_dir: {folder}\nlog: {{format: none}}")
    )
    app.router.add_post("/keep", keep)
    return app


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


async def run(rounds: float) -> None:
    """Measure several rounds and print the medians."""
    added: dict[str, list[float]] = {"stored": [], "served": [], "served slowly": []}
    with tempfile.TemporaryDirectory() as folder:
        async with (
            started(__file__, "--server", folder) as (pid, url),
            aiohttp.ClientSession() as ours,
        ):
            for size in [SMALL] * 50 + [LARGE]:
                await fetch(ours, await store(ours, url, size), 0)
            print(f"idle, after small pictures and a large one: {memory(pid, 'VmRSS') / MB:.1f} MB")
            for _ in range(int(rounds)):
                before = reset(pid)
                link = await store(ours, url, LARGE)
                added["stored"].append(memory(pid, "VmHWM") - before)
                for name, pause in (("served", 0.0), ("served slowly", 0.005)):
                    before = reset(pid)
                    await fetch(ours, link, pause)
                    added[name].append(memory(pid, "VmHWM") - before)
    for name, values in added.items():
        tell(f"one 64 MB picture {name}", values)


if __name__ == "__main__":
    command(__doc__, server, run, ("rounds", 9, "how often each is measured"))
