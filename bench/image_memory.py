"""Memory added by a 64 MB image in another form. Linux only: it reads /proc.

A provider that returns a URL or base64, chosen by the model, and the gateway, through its real
entry point, each run in a process of their own. The gateway is warmed up with small images and a
large one of each kind, its peak is reset, one large image is requested, and the new peak is read.
The gateway writes base64 to a file while it arrives, and serves the client from there.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile

import aiohttp
from aiohttp import web
from blob_memory import image_chunks
from processes import KEY, MB, command, gateway, memory, print_memory, reset_peak

SMALL, LARGE = 128 * 1024, 64 * MB
ON_DISK = "jobs: {memory_bytes: 1048576}\n"
"""Results stored for retries are on disk, so that they are not measured."""
CASES = {
    "a URL, base64 requested": ("url", "b64_json", 0.0),
    "a URL, base64 requested, slow reader": ("url", "b64_json", 0.005),
    "base64, unchanged": ("b64", "b64_json", 0.0),
    "base64, a URL requested": ("b64", "url", 0.0),
}
"""The provider's form, the requested form, and the client's pause after each chunk in seconds."""


def provider(_: str) -> web.Application:
    """Return a provider whose prompt is the image's size and whose model is its form."""

    async def answer(request: web.Request) -> web.StreamResponse:
        params = await request.json()
        if params["model"] == "url":
            image_url = request.url.with_path(f"/images/{params['prompt']}")
            return web.json_response({"created": 1, "data": [{"url": str(image_url)}]})
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"created":1,"data":[{"b64_json":"')
        left = b""
        async for piece in image_chunks(int(params["prompt"])):
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
        async for piece in image_chunks(response.content_length):
            await response.write(piece)
        return response

    app = web.Application()
    app.router.add_post("/images/generations", answer)
    app.router.add_get("/images/{size}", fetched)
    return app


async def fetch(url: str, size: int, provider_form: str, requested_form: str, pause: float) -> None:
    """Request an image and read the response, pausing `pause` seconds after each chunk."""
    headers = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "bench"}
    params = {"prompt": str(size), "model": provider_form, "response_format": requested_form}
    seen = 0
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/images/generations", json=params, headers=headers) as response,
    ):
        while chunk := await response.content.readany():
            seen += len(chunk)
            await asyncio.sleep(pause)
    if response.status != 200 or seen < (size if requested_form == "b64_json" else 1):  # noqa: PLR2004 - HTTP's success
        raise RuntimeError(f"status {response.status}, {seen} bytes")


async def run(rounds: float) -> None:
    """Measure several rounds and print the medians."""
    added: dict[str, list[float]] = {name: [] for name in CASES}
    limits = f"limits: {{reply_bytes: {2 * LARGE}, image_bytes: {LARGE}}}\n{ON_DISK}"
    with tempfile.TemporaryDirectory() as folder:
        async with gateway(__file__, folder, provider_id="nebius", at="", settings=limits) as (
            pid,
            url,
            _,
        ):
            for size in [SMALL] * 20 + [LARGE]:
                for case in CASES.values():
                    await fetch(url, size, *case)
            print(f"idle, after small images and large ones: {memory(pid, 'VmRSS') / MB:.1f} MB")
            for _ in range(int(rounds)):
                for name, case in CASES.items():
                    before = reset_peak(pid)
                    await fetch(url, LARGE, *case)
                    added[name].append(memory(pid, "VmHWM") - before)
    for name, values in added.items():
        print_memory(f"one 64 MB image, {name}", values)


if __name__ == "__main__":
    command(__doc__, provider, run, ("rounds", 5, "number of measurements"))
