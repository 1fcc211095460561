"""Memory added by relaying a 6 MB response. Linux only: it reads /proc.

A provider that returns 6 MB of base64, and the gateway, through its real entry point, each run in a
process of their own. The gateway is warmed up with small responses, its peak is reset, one large
response is relayed unchanged with the cache off, and the new peak is read: once with the job's
result stored in memory, once on disk.
"""

from __future__ import annotations

import asyncio
import tempfile

import aiohttp
from aiohttp import web
from processes import KEY, MB, command, gateway, memory, print_memory, reset_peak

SMALL, LARGE = 100 * 1024, 6 * MB
STORES = {
    "stored for a retry in memory": "",
    "stored for a retry on disk": "jobs: {memory_bytes: 1048576}\n",
}
"""Where results are stored, and the settings for it."""


def provider(_: str) -> web.Application:
    """Return a provider whose prompt is the size of the response in bytes."""

    async def answer(request: web.Request) -> web.Response:
        size = int((await request.json())["prompt"])
        body = b'{"created":1,"data":[{"b64_json":"' + b"A" * size + b'"}]}'
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/images/generations", answer)
    return app


async def fetch(session: aiohttp.ClientSession, url: str, size: int, pause: float) -> None:
    """Request a response and read it, pausing `pause` seconds after each chunk."""
    headers = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "bench"}
    path = f"{url}/v1/images/generations"
    async with session.post(path, json={"prompt": str(size)}, headers=headers) as response:
        seen = 0
        while chunk := await response.content.readany():
            seen += len(chunk)
            await asyncio.sleep(pause)
    if response.status != 200 or seen < size:  # noqa: PLR2004 - HTTP's success
        raise RuntimeError(f"status {response.status}, {seen} bytes")


async def measure(pid: int, url: str, pause: float) -> int:
    """Return the bytes that one large response adds to the peak."""
    async with aiohttp.ClientSession() as session:
        await fetch(session, url, SMALL, 0)
        before = reset_peak(pid)
        await fetch(session, url, LARGE, pause)
        return memory(pid, "VmHWM") - before


async def run(rounds: float) -> None:
    """Measure several rounds and print the medians."""
    for store, settings in STORES.items():
        with tempfile.TemporaryDirectory() as folder:
            async with gateway(__file__, folder, settings=settings) as (pid, url, _):
                async with aiohttp.ClientSession() as session:
                    for _ in range(50):
                        await fetch(session, url, SMALL, 0)
                print(
                    f"{store}; idle, after 50 small responses: {memory(pid, 'VmRSS') / MB:.1f} MB"
                )
                for name, pause in (("fast", 0), ("slow", 0.005)):
                    added = [await measure(pid, url, pause) for _ in range(int(rounds))]
                    print_memory(f"one 6 MB response, {name} reader", added)


if __name__ == "__main__":
    command(__doc__, provider, run, ("rounds", 9, "number of measurements"))
