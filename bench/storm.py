"""Effect of 2,000 hostile clients on a normal one, and on memory. Linux only: it reads /proc.

A provider, the gateway through its real entry point, and the hostile clients each run in a process
of their own. Half of the hostile clients request an image of 6 MB and never read it; the others
send endless headers, one per second. A normal client with a key of its own requests small images
one after the other, before and during the attack.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import resource
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from processes import KEY, MB, OTHER_KEY, command, gateway, memory, reset_peak

IMAGES = "/v1/images/generations"
EACH, SIZE, PIECE = 1000, 6 * MB, 64 * 1024
LIMITS = f"limits: {{jobs: {2 * EACH}, caller_jobs: {EACH}}}\n"
TIMES = "timeouts: {head: 15, unread: 15}\n"
"""Shorter than the defaults, so that the end of the attack is measured as well."""
MEMORY_BUDGET = 256 * MB + EACH * (200 + 40) * 1024 + EACH * 40 * 1024
"""jobs.memory_bytes, the read buffer and job of each image, and the memory of each connection."""
_WARM_UP, _SECONDS = 200, 10.0
_MIN_SECONDS, _MAX_SECONDS = 5, 45
"""Seconds to generate a large image: minimum and maximum."""


def provider(_: str) -> web.Application:
    """Return a provider: large images after a delay, small ones at once, and a count of calls."""
    numbers = itertools.count()
    small = web.json_response({"created": 1, "data": [{"b64_json": "A" * 1000}]}).body

    async def answer(request: web.Request) -> web.StreamResponse:
        if (await request.json())["prompt"] == "small":
            return web.Response(body=small, content_type="application/json")
        await asyncio.sleep(_MIN_SECONDS + next(numbers) * (_MAX_SECONDS - _MIN_SECONDS) / EACH)
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"created":1,"data":[{"b64_json":"')
        for _ in range(SIZE // PIECE):
            await response.write(b"A" * PIECE)
        await response.write(b'"}]}')
        return response

    async def call_count(request: web.Request) -> web.Response:
        del request
        return web.json_response(next(numbers))

    app = web.Application()
    app.router.add_post(IMAGES, answer)
    app.router.add_get("/", call_count)
    return app


def hostile(url: str, key: str) -> None:
    """Run all hostile clients until the process is killed."""
    address = urlsplit(url)
    head = f"POST {IMAGES} HTTP/1.1\r\nhost: localhost\r\nx-portkey-api-key: {key}\r\n"
    head += "x-portkey-virtual-key: bench\r\ncontent-type: application/json\r\n"
    body = '{"prompt": "large"}'
    whole = f"{head}content-length: {len(body)}\r\n\r\n{body}"
    never_reading: list[socket.socket] = []
    trickling: list[socket.socket] = []
    for _ in range(EACH):
        for sockets, sent in ((never_reading, whole), (trickling, head)):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((address.hostname, address.port))
            client.sendall(sent.encode())
            sockets.append(client)
    while True:
        time.sleep(1)
        for client in trickling:
            with contextlib.suppress(OSError):
                client.sendall(b"x-more: y\r\n")


@contextlib.contextmanager
def hostile_clients(url: str) -> Iterator[None]:
    """Run the hostile clients in a process while the block runs."""
    process = multiprocessing.get_context("spawn").Process(target=hostile, args=(url, OTHER_KEY))
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


class NormalClient:
    """A normal client that requests small images, one after the other."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url + IMAGES

    async def request(self) -> float:
        """Send one request; return its latency in milliseconds."""
        headers = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "bench"}
        started = time.perf_counter()
        async with self._session.post(self._url, json={"prompt": "small"}, headers=headers) as got:
            got.raise_for_status()
            await got.read()
        return (time.perf_counter() - started) * 1000

    async def median_latency(self, seconds: float) -> float:
        """Send requests for `seconds`; return the median latency in milliseconds."""
        end, times = time.perf_counter() + seconds, []
        while time.perf_counter() < end:
            times.append(await self.request())
            await asyncio.sleep(0.005)
        print(
            f"  {len(times)} requests: median {statistics.median(times):.2f} ms, "
            f"99th percentile {statistics.quantiles(times, n=100)[98]:.1f} ms, "
            f"longest {max(times):.0f} ms"
        )
        return statistics.median(times)


async def run(seconds: float) -> None:
    """Measure the normal client before and during the attack."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    with tempfile.TemporaryDirectory() as folder:
        async with (
            gateway(__file__, folder, settings=LIMITS + TIMES) as (pid, url, upstream),
            aiohttp.ClientSession() as session,
        ):
            client = NormalClient(session, url)
            for _ in range(_WARM_UP):
                await client.request()
            print("without hostile clients:")
            before = await client.median_latency(_SECONDS)
            idle = reset_peak(pid)
            print(
                f"{EACH} clients that never read 6 MB, and {EACH} that never finish their headers:"
            )
            with hostile_clients(url):
                during = await client.median_latency(seconds)
                peak = memory(pid, "VmHWM") - idle
                async with session.get(upstream) as got:
                    print(f"  images requested from the provider: {await got.json()}")
            print(f"ratio of the medians: {during / before:.2f} (target: at most 2)")
            print(
                f"memory: {peak / MB:+.0f} MB at the peak, over {idle / MB:.0f} MB "
                f"(budget: {MEMORY_BUDGET / MB:+.0f} MB)"
            )


if __name__ == "__main__":
    command(__doc__, provider, run, ("seconds", 60.0, "duration of the attack"))
