"""What a storm of hostile clients does to an honest one, and to memory. Linux only: it reads /proc.

A provider, the gateway through its real entry point, and the hostile clients each run in a process
of their own. Of the hostile clients half order a picture of 6 MB and never read it; the others send
a head that never ends, a line a second. An honest client with a key of its own asks for small
pictures, one after the other, before and during all that.
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
from processes import KEY, MB, OTHER_KEY, command, gateway, memory, reset

IMAGES = "/v1/images/generations"
EACH, SIZE, PIECE = 1000, 6 * MB, 64 * 1024
LIMITS = f"limits: {{jobs: {2 * EACH}, caller_jobs: {EACH}}}\n"
TIMES = "timeouts: {head: 15, unread: 15}\n"
"""Shorter than by default, so that the end of the storm is in the measurement."""
PROMISED = 256 * MB + EACH * (200 + 40) * 1024 + EACH * 40 * 1024
"""jobs.memory_bytes, what is read for each of the pictures, and what each connection takes."""
_WARM_UP, _SECONDS = 200, 10.0
_SOONEST, _LATEST = 5, 45
"""Seconds that a large picture takes to be made."""


def provider(_: str) -> web.Application:
    """Serve 6 MB to who is hostile, after the time that pictures take; a small one at once."""
    numbers = itertools.count()
    small = web.json_response({"created": 1, "data": [{"b64_json": "A" * 1000}]}).body

    async def answer(request: web.Request) -> web.StreamResponse:
        if (await request.json())["prompt"] == "small":
            return web.Response(body=small, content_type="application/json")
        await asyncio.sleep(_SOONEST + next(numbers) * (_LATEST - _SOONEST) / EACH)
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"created":1,"data":[{"b64_json":"')
        for _ in range(SIZE // PIECE):
            await response.write(b"A" * PIECE)
        await response.write(b'"}]}')
        return response

    async def told(request: web.Request) -> web.Response:
        del request
        return web.json_response(next(numbers))

    app = web.Application()
    app.router.add_post(IMAGES, answer)
    app.router.add_get("/", told)
    return app


def hostile(url: str, key: str) -> None:
    """Be all the hostile clients, for as long as the process lives."""
    place = urlsplit(url)
    head = f"POST {IMAGES} HTTP/1.1\r\nhost: localhost\r\nx-portkey-api-key: {key}\r\n"
    head += "x-portkey-virtual-key: bench\r\ncontent-type: application/json\r\n"
    body = '{"prompt": "large"}'
    whole = f"{head}content-length: {len(body)}\r\n\r\n{body}"
    deaf: list[socket.socket] = []
    trickling: list[socket.socket] = []
    for _ in range(EACH):
        for sockets, sent in ((deaf, whole), (trickling, head)):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((place.hostname, place.port))
            client.sendall(sent.encode())
            sockets.append(client)
    while True:
        time.sleep(1)
        for client in trickling:
            with contextlib.suppress(OSError):
                client.sendall(b"x-more: y\r\n")


@contextlib.contextmanager
def storm(url: str) -> Iterator[None]:
    """Let the hostile clients loose while a block lasts."""
    process = multiprocessing.get_context("spawn").Process(target=hostile, args=(url, OTHER_KEY))
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


class Honest:
    """A client that asks for small pictures, one after the other."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url + IMAGES

    async def ask(self) -> float:
        """Ask once, and give the milliseconds that it took."""
        named = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "bench"}
        began = time.perf_counter()
        async with self._session.post(self._url, json={"prompt": "small"}, headers=named) as got:
            got.raise_for_status()
            await got.read()
        return (time.perf_counter() - began) * 1000

    async def middle(self, seconds: float) -> float:
        """Ask for so long, and give the median."""
        end, times = time.perf_counter() + seconds, []
        while time.perf_counter() < end:
            times.append(await self.ask())
            await asyncio.sleep(0.005)
        print(
            f"  {len(times)} requests: median {statistics.median(times):.2f} ms, "
            f"99th percentile {statistics.quantiles(times, n=100)[98]:.1f} ms, "
            f"longest {max(times):.0f} ms"
        )
        return statistics.median(times)


async def run(seconds: float) -> None:
    """Time the honest client before and in a storm."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        async with (
            gateway(__file__, folder, more=LIMITS + TIMES) as (pid, url, upstream),
            aiohttp.ClientSession() as session,
        ):
            honest = Honest(session, url)
            for _ in range(_WARM_UP):
                await honest.ask()
            print("undisturbed:")
            before = await honest.middle(_SECONDS)
            idle = reset(pid)
            print(f"{EACH} that never read 6 MB each, and {EACH} that send no whole head:")
            with storm(url):
                during = await honest.middle(seconds)
                peak = memory(pid, "VmHWM") - idle
                async with session.get(upstream) as got:
                    print(f"  pictures that the provider was asked for: {await got.json()}")
            print(f"ratio of the medians: {during / before:.2f} (wanted: at most 2)")
            print(
                f"memory: {peak / MB:+.0f} MB at the peak, over {idle / MB:.0f} MB "
                f"(budget: {PROMISED / MB:+.0f} MB)"
            )


if __name__ == "__main__":
    command(__doc__, provider, run, ("seconds", 60.0, "how long the storm lasts"))
