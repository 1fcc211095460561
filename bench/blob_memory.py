"""Memory added by storing and serving a 64 MB image. Linux only: it reads /proc.

The gateway's application runs in a process of its own, with a route that stores request bodies. It
is warmed up with small images and a large one, its peak is reset, one large image is stored or
fetched, and the new peak is read.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from processes import KEY, MB, command, memory, print_memory, reset_peak, run_server

from proxy.app import make_app
from proxy.blobs.publish import publish
from proxy.settings.loader import parse

SMALL, LARGE = 128 * 1024, 64 * MB
CHUNK = 64 * 1024


def server(folder: str) -> web.Application:
    """Return a gateway with images in a folder, and a route that stores request bodies."""

    async def keep(request: web.Request) -> web.Response:
        return web.Response(text=await publish(request, request.content.iter_any(), ""))

    app = make_app(
        parse(f"api_keys: {{bench: {{key: {KEY}}}}}\nstate_dir: {folder}\nlog: {{format: none}}")
    )
    app.router.add_post("/keep", keep)
    return app


async def image_chunks(size: int) -> AsyncIterator[bytes]:
    """Yield `size` bytes that begin with a PNG signature."""
    yield b"\x89PNG\r\n\x1a\n".ljust(CHUNK, b"\0")
    for _ in range(size // CHUNK - 1):
        yield bytes(CHUNK)


async def store(session: aiohttp.ClientSession, url: str, size: int) -> str:
    """Store an image of `size` bytes; return its URL."""
    headers = {"x-portkey-api-key": KEY}
    async with session.post(f"{url}/keep", data=image_chunks(size), headers=headers) as response:
        response.raise_for_status()
        return await response.text()


async def fetch(session: aiohttp.ClientSession, url: str, pause: float) -> None:
    """Download an image, pausing `pause` seconds after each chunk."""
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
            run_server(__file__, "--server", folder) as (pid, url),
            aiohttp.ClientSession() as ours,
        ):
            for size in [SMALL] * 50 + [LARGE]:
                await fetch(ours, await store(ours, url, size), 0)
            print(f"idle, after small images and a large one: {memory(pid, 'VmRSS') / MB:.1f} MB")
            for _ in range(int(rounds)):
                before = reset_peak(pid)
                link = await store(ours, url, LARGE)
                added["stored"].append(memory(pid, "VmHWM") - before)
                for name, pause in (("served", 0.0), ("served slowly", 0.005)):
                    before = reset_peak(pid)
                    await fetch(ours, link, pause)
                    added[name].append(memory(pid, "VmHWM") - before)
    for name, values in added.items():
        print_memory(f"one 64 MB image {name}", values)


if __name__ == "__main__":
    command(__doc__, server, run, ("rounds", 9, "number of measurements"))
