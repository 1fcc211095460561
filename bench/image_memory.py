"""What a 64 MB picture in another form adds to the gateway's memory. Linux only: it reads /proc.

A provider that answers a URL or base64, as its model says, and the gateway, through its real entry
point, each run in a process of their own. The gateway is warmed up with small pictures and one
large one of each kind, its peak is reset, one large picture is asked for, and the new peak is read.
What comes as base64 goes to a file while it arrives, and from there to the client or behind a URL.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile

import aiohttp
from aiohttp import web
from blob_memory import picture
from processes import KEY, MB, command, gateway, memory, reset, tell

SMALL, LARGE = 128 * 1024, 64 * MB
ON_DISK = "jobs: {memory_bytes: 1048576}\n"
"""Answers that are kept for retries are not what is measured here."""
CASES = {
    "a URL, base64 wanted": ("url", "b64_json", 0.0),
    "a URL, base64 wanted, slow reader": ("url", "b64_json", 0.005),
    "base64, as it is": ("b64", "b64_json", 0.0),
    "base64, a URL wanted": ("b64", "url", 0.0),
}
"""What the provider answers, what is asked of the gateway, seconds between two pieces read."""


def provider(_: str) -> web.Application:
    """Serve pictures of the size that the prompt names, in the form that the model names."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if asked["model"] == "url":
            place = request.url.with_path(f"/pictures/{asked['prompt']}")
            return web.json_response({"created": 1, "data": [{"url": str(place)}]})
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"created":1,"data":[{"b64_json":"')
        left = b""
        async for piece in picture(int(asked["prompt"])):
            whole = left + piece
            even = len(whole) // 3 * 3
            await response.write(base64.b64encode(whole[:even]))
            left = whole[even:]
        await response.write(base64.b64encode(left) + b'"}]}')
        return response

    async def fetched(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = int(request.match_info["size"])
        await response.prepare(request)
        async for piece in picture(response.content_length):
            await response.write(piece)
        return response

    app = web.Application()
    app.router.add_post("/images/generations", answer)
    app.router.add_get("/pictures/{size}", fetched)
    return app


async def fetch(url: str, size: int, answered: str, wanted: str, pause: float) -> None:
    """Ask for a picture of a size and read the answer, `pause` seconds between two pieces."""
    headers = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "bench"}
    asked = {"prompt": str(size), "model": answered, "response_format": wanted}
    seen = 0
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/images/generations", json=asked, headers=headers) as response,
    ):
        while chunk := await response.content.readany():
            seen += len(chunk)
            await asyncio.sleep(pause)
    if response.status != 200 or seen < (size if wanted == "b64_json" else 1):  # noqa: PLR2004 - HTTP's success
        raise RuntimeError(f"status {response.status}, {seen} bytes")


async def run(rounds: float) -> None:
    """Measure several rounds and print the medians."""
    added: dict[str, list[float]] = {name: [] for name in CASES}
    limits = f"limits: {{reply_bytes: {2 * LARGE}, image_bytes: {LARGE}}}\n{ON_DISK}"
    with tempfile.TemporaryDirectory() as folder:
        async with gateway(__file__, folder, speaks="nebius", at="", more=limits) as (pid, url, _):
            for size in [SMALL] * 20 + [LARGE]:
                for case in CASES.values():
                    await fetch(url, size, *case)
            print(f"idle, after small pictures and large ones: {memory(pid, 'VmRSS') / MB:.1f} MB")
            for _ in range(int(rounds)):
                for name, case in CASES.items():
                    before = reset(pid)
                    await fetch(url, LARGE, *case)
                    added[name].append(memory(pid, "VmHWM") - before)
    for name, values in added.items():
        tell(f"one 64 MB picture, {name}", values)


if __name__ == "__main__":
    command(__doc__, provider, run, ("rounds", 5, "how often each is measured"))
