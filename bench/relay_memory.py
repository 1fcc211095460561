"""What relaying a 6 MB answer adds to the gateway's memory. Linux only: it reads /proc.

A provider that answers 6 MB of base64 and the gateway, through its real entry point, each run in a
process of their own. The gateway is warmed up with small answers, its peak is reset, one large
answer is relayed (verbatim, cache off), and the new peak is read: once where the job's answer is
kept in memory, once where it is kept on disk.
"""

from __future__ import annotations

import asyncio
import tempfile

import aiohttp
from aiohttp import web
from processes import KEY, MB, command, gateway, memory, reset, tell

SMALL, LARGE = 100 * 1024, 6 * MB
KEPT = {
    "kept for a retry in memory": "",
    "kept for a retry on disk": "jobs: {memory_bytes: 1048576}\n",
}
"""Where an answer lies afterwards, and the settings for it."""


def provider(_: str) -> web.Application:
    """Serve answers of the size that the prompt names."""

    async def answer(request: web.Request) -> web.Response:
        size = int((await request.json())["prompt"])
        body = b'{"created":1,"data":[{"b64_json":"' + b"A" * size + b'"}]}'
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/images/generations", answer)
    return app


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
        before = reset(pid)
        await fetch(session, url, LARGE, pause)
        return memory(pid, "VmHWM") - before


async def run(rounds: float) -> None:
    """Measure several rounds and print the medians."""
    for kept, settings in KEPT.items():
        with tempfile.TemporaryDirectory() as folder:
            async with gateway(__file__, folder, more=settings) as (pid, url, _):
                async with aiohttp.ClientSession() as session:
                    for _ in range(50):
                        await fetch(session, url, SMALL, 0)
                print(f"{kept}; idle, after 50 small answers: {memory(pid, 'VmRSS') / MB:.1f} MB")
                for name, pause in (("fast", 0), ("slow", 0.005)):
                    added = [await measured(pid, url, pause) for _ in range(int(rounds))]
                    tell(f"one 6 MB answer, {name} reader", added)


if __name__ == "__main__":
    command(__doc__, provider, run, ("rounds", 9, "how often each is measured"))
