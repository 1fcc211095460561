"""What 500 pictures that nobody waits for add to the gateway's memory. Linux only: it reads /proc.

A provider that sends 6 MB slowly and the gateway, through its real entry point, each run in a
process of their own. 500 clients ask and leave: every other one before the headers. In the first
run the disk has room for all of it, and all is collected with retries. In the second it has not,
and what is given up is told by the files that go.
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
from processes import KEY, MB, command, gateway, memory, reset

ASKED = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "bench"}
AGAIN = {**ASKED, "x-stainless-retry-count": "1"}
IMAGES = "/v1/images/generations"
JOBS, SIZE, PIECE = 500, 6 * MB, 64 * 1024
MEMORY, PROMISED = 64 * MB, (64 + 150) * MB
DELIVERED, WAITING, HEARD = 20, 50, 10
AT_ONCE = 20


def pieces_of(prompt: str) -> Iterator[bytes]:
    """Give the answer to a prompt: no two are alike in any place."""
    text = hashlib.sha256(prompt.encode()).hexdigest().encode()
    yield b'{"created":1,"data":[{"b64_json":"'
    for _ in range(SIZE // PIECE):
        yield text * (PIECE // len(text))
    yield b'"}]}'


def digest_of(prompt: str) -> str:
    """Give the digest of the answer to a prompt."""
    digest = hashlib.sha256()
    for piece in pieces_of(prompt):
        digest.update(piece)
    return digest.hexdigest()


def provider(_: str) -> web.Application:
    """Serve answers that last as long as the prompt says, and begin when it says."""
    state = {"asked": 0, "ended": 0}

    async def answer(request: web.Request) -> web.StreamResponse:
        prompt = str((await request.json())["prompt"])
        _, delay, seconds = prompt.split()
        state["asked"] += 1
        try:
            await asyncio.sleep(float(delay))
            response = web.StreamResponse(headers={"content-type": "application/json"})
            await response.prepare(request)
            for piece in pieces_of(prompt):
                await response.write(piece)
                await asyncio.sleep(float(seconds) / (SIZE // PIECE))
            return response
        finally:
            state["ended"] += 1

    async def told(request: web.Request) -> web.Response:
        del request
        return web.json_response(state)

    app = web.Application()
    app.router.add_post(IMAGES, answer)
    app.router.add_get("/", told)
    return app


@dataclass(frozen=True)
class Bench:
    """A gateway and its provider, running."""

    session: aiohttp.ClientSession
    url: str
    provider: str
    pid: int
    folder: Path

    async def told(self) -> dict[str, int]:
        """Ask the provider how many requests it has had, and how many have ended."""
        async with self.session.get(self.provider) as got:
            told: dict[str, int] = await got.json()
            return told

    async def until(self, what: str, count: int) -> None:
        """Wait until the provider says so."""
        async with asyncio.timeout(300):
            while (await self.told())[what] < count:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)

    async def leaves_early(self, prompt: str, seconds: float) -> None:
        """Ask, and leave before the headers."""
        try:
            async with asyncio.timeout(seconds):
                await self._post(prompt, ASKED)
        except TimeoutError:
            return
        raise RuntimeError("the answer had begun")

    async def leaves(self, prompt: str) -> str:
        """Ask, and leave after the headers; gives the job's id."""
        got = await self._post(prompt, ASKED)
        got.close()
        return got.headers["x-easel-job"]

    async def reads(self, prompt: str, headers: dict[str, str]) -> bool:
        """Read an answer to its end; tells whether it is the right one."""
        digest = hashlib.sha256()
        async with await self._post(prompt, headers) as got:
            async for piece in got.content.iter_any():
                digest.update(piece)
        return digest.hexdigest() == digest_of(prompt)

    async def is_gone(self, job: str) -> bool:
        """Tell whether a job was given up."""
        async with self.session.get(f"{self.url}/v1/images/jobs/{job}", headers=ASKED) as got:
            return got.status == 404  # noqa: PLR2004 - there is none

    async def _post(self, prompt: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        return await self.session.post(self.url + IMAGES, json={"prompt": prompt}, headers=headers)


@asynccontextmanager
async def running(disk: int) -> AsyncIterator[Bench]:
    """Run provider and gateway, whose disk may take so many bytes."""
    jobs = f"jobs: {{memory_bytes: {MEMORY}, disk_bytes: {disk}, result_ttl_seconds: 3600}}\n"
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        pid, url, upstream = await stack.enter_async_context(gateway(__file__, folder, more=jobs))
        unlimited = aiohttp.ClientTimeout(total=None)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=unlimited)
        )
        yield Bench(session, url, upstream, pid, Path(folder) / "jobs")


async def all_of(bench: Bench, prompts: Sequence[str]) -> list[bool]:
    """Collect pictures with retries, some at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(prompt: str) -> bool:
        async with gate:
            return await bench.reads(prompt, AGAIN)

    return await asyncio.gather(*map(one, prompts))


def peak_of(bench: Bench, when: str) -> None:
    """Print the gateway's peak, and begin another."""
    peak = memory(bench.pid, "VmHWM")
    print(f"  {when:<44} {peak / MB:6.1f} MB{'' if peak <= PROMISED else '  TOO MUCH'}")
    reset(bench.pid)


async def with_room(seconds: float) -> None:
    """500 jobs of nobody, room for all of them on disk, then all are collected."""
    print(f"{JOBS} jobs of {SIZE // MB} MB, {MEMORY // MB} MB of memory, 4096 MB of disk: peaks")
    async with running(4096 * MB) as bench:
        peak_of(bench, "idle")
        # The odd ones' headers come late: their clients have left by then.
        prompts = [f"{i} {20 * (i % 2)} {seconds}" for i in range(JOBS)]
        asking = [bench.leaves_early(it, 15) for it in prompts[1::2]]
        began = time.monotonic()
        await asyncio.gather(*asking, *map(bench.leaves, prompts[::2]))
        await bench.until("ended", JOBS)
        took = time.monotonic() - began
        peak_of(bench, f"all clients gone, all made in {took:.0f} s")
        began = time.monotonic()
        got = await all_of(bench, prompts)
        took = time.monotonic() - began
        peak_of(bench, f"collected, {AT_ONCE} at once, in {took:.0f} s")
        asked = (await bench.told())["asked"]
    print(f"  {sum(got)} of {JOBS} the same byte for byte, {asked} requests to the provider")


async def without_room(seconds: float) -> None:
    """More than the disk holds: tell in which order it is given up."""
    print(f"{JOBS} jobs of {SIZE // MB} MB, {MEMORY // MB} MB of memory, 500 MB of disk")
    async with running(500 * MB) as bench:
        kinds: dict[str, str] = {}
        first = [f"{i} 0 1" for i in range(DELIVERED + WAITING)]
        for prompt in first:
            kind = "delivered" if len(kinds) < DELIVERED else "waiting"
            kinds[await bench.leaves(prompt)] = kind
        await bench.until("ended", len(first))
        await all_of(bench, first[:DELIVERED])
        watching = asyncio.create_task(gone_in_order(bench.folder))
        prompts = [f"{i} 0 {seconds}" for i in range(len(first), JOBS)]
        heard = [asyncio.create_task(bench.reads(it, ASKED)) for it in prompts[:HEARD]]
        for job in await asyncio.gather(*map(bench.leaves, prompts[HEARD:])):
            kinds[job] = "of nobody"
        await bench.until("ended", JOBS)
        got = await asyncio.gather(*heard)
        watching.cancel()
        order = [kinds[job] for job in await watching if job in kinds]
        gone = dict.fromkeys(("delivered", "waiting", "of nobody"), 0)
        for job, kind in kinds.items():
            gone[kind] += await bench.is_gone(job)
        peak_of(bench, "peak")
    for kind, count in gone.items():
        places = [at for at, it in enumerate(order, 1) if it == kind]
        seen = f", their files as numbers {places[0]} to {places[-1]}" if places else ""
        print(f"  {kind + ':':<11} {count:4} of {list(kinds.values()).count(kind)} given up{seen}")
    print(f"  {sum(got)} of {HEARD} whose clients stayed are the same byte for byte")


async def gone_in_order(folder: Path) -> list[str]:
    """Watch a folder until cancelled; gives the files that went, in order."""
    gone: list[str] = []
    seen: set[str] = set()
    try:
        while True:
            now = {file.name for file in folder.iterdir()} if folder.exists() else set()
            gone += sorted(seen - now)
            seen = now
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        return gone


async def run(seconds: float) -> None:
    """Measure both, and print."""
    await with_room(seconds)
    await without_room(seconds)


if __name__ == "__main__":
    command(__doc__, provider, run, ("seconds", 30.0, "how long an answer lasts"))
