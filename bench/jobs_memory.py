"""Memory of 500 uncollected images. Linux only: it reads /proc.

A provider that sends 6 MB slowly, and the gateway, through its real entry point, each run in a
process of their own. 500 clients request an image and disconnect, every other one before the
headers. In the first run all results fit on disk and are collected with retries. In the second they
do not fit, and the order of eviction is observed from the deleted files.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from processes import KEY, MB, command, gateway, memory, reset_peak

HEADERS = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "bench"}
RETRY_HEADERS = {**HEADERS, "x-stainless-retry-count": "1"}
IMAGES = "/v1/images/generations"
JOBS, SIZE, CHUNK = 500, 6 * MB, 64 * 1024
MEMORY, MEMORY_BUDGET = 64 * MB, (64 + 150) * MB
DELIVERED, WAITING, CONNECTED = 20, 50, 10
CONCURRENT = 20


def response_chunks(prompt: str) -> Iterator[bytes]:
    """Yield the response to a prompt; responses differ in every chunk."""
    text = hashlib.sha256(prompt.encode()).hexdigest().encode()
    yield b'{"created":1,"data":[{"b64_json":"'
    for _ in range(SIZE // CHUNK):
        yield text * (CHUNK // len(text))
    yield b'"}]}'


def response_digest(prompt: str) -> str:
    """Return the digest of the response to a prompt."""
    digest = hashlib.sha256()
    for chunk in response_chunks(prompt):
        digest.update(chunk)
    return digest.hexdigest()


def provider(_: str) -> web.Application:
    """Return a provider whose prompt gives the delay and duration of the response."""
    state = {"received": 0, "ended": 0}

    async def answer(request: web.Request) -> web.StreamResponse:
        prompt = str((await request.json())["prompt"])
        _, delay, seconds = prompt.split()
        state["received"] += 1
        try:
            await asyncio.sleep(float(delay))
            response = web.StreamResponse(headers={"content-type": "application/json"})
            await response.prepare(request)
            for chunk in response_chunks(prompt):
                await response.write(chunk)
                await asyncio.sleep(float(seconds) / (SIZE // CHUNK))
            return response
        finally:
            state["ended"] += 1

    async def counts(request: web.Request) -> web.Response:
        del request
        return web.json_response(state)

    app = web.Application()
    app.router.add_post(IMAGES, answer)
    app.router.add_get("/", counts)
    return app


@dataclass(frozen=True)
class Bench:
    """A gateway and its provider, running."""

    session: aiohttp.ClientSession
    url: str
    provider: str
    pid: int
    folder: Path

    async def counts(self) -> dict[str, int]:
        """Return how many requests the provider has received, and how many have ended."""
        async with self.session.get(self.provider) as got:
            counts: dict[str, int] = await got.json()
            return counts

    async def until(self, what: str, count: int) -> None:
        """Wait until a count of the provider is reached."""
        async with asyncio.timeout(300):
            while (await self.counts())[what] < count:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)

    async def disconnect_before_headers(self, prompt: str, seconds: float) -> None:
        """Send a request and disconnect before the headers."""
        try:
            async with asyncio.timeout(seconds):
                await self._post(prompt, HEADERS)
        except TimeoutError:
            return
        raise RuntimeError("the response had begun")

    async def disconnect_after_headers(self, prompt: str) -> str:
        """Send a request and disconnect after the headers; return the job's id."""
        got = await self._post(prompt, HEADERS)
        got.close()
        return got.headers["x-easel-job"]

    async def read_response(self, prompt: str, headers: dict[str, str]) -> bool:
        """Read a response; return whether it is the right one."""
        digest = hashlib.sha256()
        async with await self._post(prompt, headers) as got:
            async for chunk in got.content.iter_any():
                digest.update(chunk)
        return digest.hexdigest() == response_digest(prompt)

    async def is_evicted(self, job: str) -> bool:
        """Whether a job was evicted."""
        async with self.session.get(f"{self.url}/v1/images/jobs/{job}", headers=HEADERS) as got:
            return got.status == 404  # noqa: PLR2004 - not found

    async def _post(self, prompt: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        return await self.session.post(self.url + IMAGES, json={"prompt": prompt}, headers=headers)


@asynccontextmanager
async def running(disk: int) -> AsyncIterator[Bench]:
    """Run a provider, and a gateway that stores up to `disk` bytes of results."""
    jobs = f"jobs: {{memory_bytes: {MEMORY}, disk_bytes: {disk}, result_ttl_seconds: 3600}}\n"
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        pid, url, upstream = await stack.enter_async_context(
            gateway(__file__, folder, settings=jobs)
        )
        unlimited = aiohttp.ClientTimeout(total=None)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=unlimited)
        )
        yield Bench(session, url, upstream, pid, Path(folder) / "jobs")


async def collect_all(bench: Bench, prompts: Sequence[str]) -> list[bool]:
    """Collect results with retries, `CONCURRENT` at a time."""
    gate = asyncio.Semaphore(CONCURRENT)

    async def one(prompt: str) -> bool:
        async with gate:
            return await bench.read_response(prompt, RETRY_HEADERS)

    return await asyncio.gather(*map(one, prompts))


def print_peak(bench: Bench, when: str) -> None:
    """Print the gateway's peak memory and reset it."""
    peak = memory(bench.pid, "VmHWM")
    print(f"  {when:<44} {peak / MB:6.1f} MB{'' if peak <= MEMORY_BUDGET else '  OVER BUDGET'}")
    reset_peak(bench.pid)


async def measure_with_disk(seconds: float) -> None:
    """Run 500 jobs without clients that fit on disk, then collect all results."""
    print(f"{JOBS} jobs of {SIZE // MB} MB, {MEMORY // MB} MB of memory, 4096 MB of disk: peaks")
    async with running(4096 * MB) as bench:
        print_peak(bench, "idle")
        # The odd ones' headers are late: their clients have disconnected by then.
        prompts = [f"{i} {20 * (i % 2)} {seconds}" for i in range(JOBS)]
        pending = [bench.disconnect_before_headers(it, 15) for it in prompts[1::2]]
        began = time.monotonic()
        await asyncio.gather(*pending, *map(bench.disconnect_after_headers, prompts[::2]))
        await bench.until("ended", JOBS)
        took = time.monotonic() - began
        print_peak(bench, f"all clients disconnected, all finished in {took:.0f} s")
        began = time.monotonic()
        got = await collect_all(bench, prompts)
        took = time.monotonic() - began
        print_peak(bench, f"collected, {CONCURRENT} at once, in {took:.0f} s")
        received = (await bench.counts())["received"]
    print(f"  {sum(got)} of {JOBS} identical, {received} provider requests")


async def measure_without_disk(seconds: float) -> None:
    """Run more jobs than fit on disk, and report the order of eviction."""
    print(f"{JOBS} jobs of {SIZE // MB} MB, {MEMORY // MB} MB of memory, 500 MB of disk")
    async with running(500 * MB) as bench:
        kinds: dict[str, str] = {}
        first = [f"{i} 0 1" for i in range(DELIVERED + WAITING)]
        for prompt in first:
            kind = "delivered" if len(kinds) < DELIVERED else "waiting"
            kinds[await bench.disconnect_after_headers(prompt)] = kind
        await bench.until("ended", len(first))
        await collect_all(bench, first[:DELIVERED])
        watching = asyncio.create_task(deleted_files(bench.folder))
        prompts = [f"{i} 0 {seconds}" for i in range(len(first), JOBS)]
        connected = [
            asyncio.create_task(bench.read_response(it, HEADERS)) for it in prompts[:CONNECTED]
        ]
        for job in await asyncio.gather(*map(bench.disconnect_after_headers, prompts[CONNECTED:])):
            kinds[job] = "no client"
        await bench.until("ended", JOBS)
        got = await asyncio.gather(*connected)
        watching.cancel()
        order = [kinds[job] for job in await watching if job in kinds]
        evicted = dict.fromkeys(("delivered", "waiting", "no client"), 0)
        for job, kind in kinds.items():
            evicted[kind] += await bench.is_evicted(job)
        print_peak(bench, "peak")
    for kind, count in evicted.items():
        places = [at for at, it in enumerate(order, 1) if it == kind]
        seen = f", files number {places[0]} to {places[-1]}" if places else ""
        print(f"  {kind + ':':<11} {count:4} of {list(kinds.values()).count(kind)} evicted{seen}")
    print(f"  {sum(got)} of {CONNECTED} whose clients stayed connected are identical")


async def deleted_files(folder: Path) -> list[str]:
    """Watch a folder until cancelled; return the deleted files in order."""
    evicted: list[str] = []
    seen: set[str] = set()
    try:
        while True:
            now = {file.name for file in folder.iterdir()} if folder.exists() else set()
            evicted += sorted(seen - now)
            seen = now
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        return evicted


async def run(seconds: float) -> None:
    """Run both measurements."""
    await measure_with_disk(seconds)
    await measure_without_disk(seconds)


if __name__ == "__main__":
    command(__doc__, provider, run, ("seconds", 30.0, "duration of a response"))
