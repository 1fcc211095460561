"""CPU of a cache hit. Linux only: it reads /proc.

A provider that returns one image, and the gateway, through its real entry point, each run in a
process of their own. The image is generated once and then requested repeatedly in each form, one
request after the other. The result is the CPU time of all threads of the gateway's process.
"""

from __future__ import annotations

import os
import tempfile
from base64 import b64encode
from typing import Any

import aiohttp
from aiohttp import web
from processes import KEY, MB, command, cpu, gateway

FORMS: dict[str, dict[str, Any]] = {
    "b64_json": {"response_format": "b64_json"},
    "events": {"stream": True},
    "url": {"response_format": "url"},
}
SIZES = {"64 KB": 64 * 1024, "6 MB": 6 * MB, "16 MB": 16 * MB}


def provider(_: str) -> web.Application:
    """Return a provider whose prompt is the size of the image in bytes."""

    async def answer(request: web.Request) -> web.Response:
        size = int((await request.json())["prompt"])
        image = b64encode(b"\x89PNG\r\n\x1a\n".ljust(32, b"\0") + os.urandom(size - 32))
        body = b'{"created":1,"data":[{"b64_json":"' + image + b'"}]}'
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/images/generations", answer)
    return app


async def request_image(
    session: aiohttp.ClientSession, url: str, size: int, form: dict[str, Any]
) -> str:
    """Request an image of `size` bytes; return the cache status."""
    config = '{"virtual_key": "bench", "cache": {"mode": "simple"}}'
    headers = {"x-portkey-api-key": KEY, "x-portkey-config": config}
    body = {"model": "gpt-image-2", "prompt": str(size), **form}
    path = f"{url}/v1/images/generations"
    async with session.post(path, json=body, headers=headers) as response:
        async for _ in response.content.iter_any():
            pass
        response.raise_for_status()
        return response.headers["x-portkey-cache-status"]


async def per_hit(pid: int, url: str, size: int, form: dict[str, Any], rounds: int) -> float:
    """Return the average CPU seconds of a hit."""
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            await request_image(session, url, size, form)
        before = cpu(pid)
        for _ in range(rounds):
            if await request_image(session, url, size, form) != "HIT":
                raise RuntimeError("no hit")
        return (cpu(pid) - before) / rounds


async def run(rounds: float) -> None:
    """Measure every form and size, and print the averages."""
    with tempfile.TemporaryDirectory() as folder:
        async with gateway(__file__, folder) as (pid, url, _):
            for name, size in SIZES.items():
                for form, params in FORMS.items():
                    times = max(int(rounds) * 2 * MB // max(size, 2 * MB), 20)
                    seconds = await per_hit(pid, url, size, params, times)
                    each, whole = seconds * 1000, seconds / size * 1024 * MB
                    print(
                        f"{name:>6} as {form:<8} {each:7.2f} ms per hit, {whole:7.2f} s per GB "
                        f"(n={times})"
                    )


if __name__ == "__main__":
    command(__doc__, provider, run, ("rounds", 300, "number of requests for the smallest image"))
