"""Minutes of mixed load at half a core, to find growing memory and leaked files.

All sizes, clients that disconnect, providers that abort, slow readers, and a cache with many
entries. The rate follows the gateway's CPU, which should be half a core.
"""

from __future__ import annotations

import asyncio
import random
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from . import report
from .bench import Bench
from .contestants import CACHED, CUT, EASEL, EVENTS, easel
from .environment import log
from .load import BadAnswersError, Request
from .requests import clients, events, first_response_time, read_slowly, send_request
from .responses import LARGE, MEDIUM, SMALL
from .servers import Server

_CPU_SHARE = 0.5
_INTERVAL_SECONDS = 1.0
_MAX_CONCURRENT, _SLOWDOWN_CONCURRENT = 400, 100
"""Maximum number of requests in flight, and the number above which the rate does not rise."""
_RESULT_TTL_SECONDS = 300.0
_IDLE_SECONDS = 100
_MAX_GROWTH = 0.05
_MAX_FILES = 8
"""Files that may be open in addition when idle: the blob store's or the resolver's."""
_MAX_TASKS = 4
"""The same for asyncio tasks."""
_PROMPTS = 2000
_TASKS = re.compile(r"^easel_tasks ([0-9.]+)$", re.MULTILINE)


@dataclass
class Soak:
    """A gateway under load, with counts and failures of its requests."""

    bench: Bench
    server: Server
    session: aiohttp.ClientSession
    rng: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - the same each time
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def request(self, what: str, **more: object) -> Request:
        """Return a request, unique unless `user` is given."""
        return self.bench.request(EASEL, what, **{"user": str(self.rng.random()), **more})

    async def send(self, what: str) -> None:
        """Request a response of a size."""
        request = self.request(what)
        got = await send_request(self.session, self.server, request)
        if len(got) < request.min_bytes:
            raise BadAnswersError(f"{len(got)} bytes")

    async def send_cached(self, what: str) -> None:
        """Request one of many responses that may be cached."""
        prompt = f"A lighthouse, number {self.rng.randrange(_PROMPTS)}"
        await send_request(
            self.session, self.server, self.request(CACHED + what, prompt=prompt, user="u")
        )

    async def disconnect(self) -> None:
        """Disconnect in the middle of a response."""
        request = self.request(LARGE)
        async with self.session.post(
            self.server.url + request.path, data=request.body, headers=request.headers
        ) as response:
            await response.content.read(64 * 1024)
            response.close()

    async def expect_cut(self) -> None:
        """Call a provider that aborts; the response must not look complete."""
        try:
            await send_request(self.session, self.server, self.request(CUT))
        except (aiohttp.ClientPayloadError, BadAnswersError):
            return
        raise BadAnswersError("a cut response looked complete")

    async def send_slow_reader(self) -> None:
        """Read a response slowly."""
        await read_slowly(self.session, self.server, self.request(LARGE), 20)

    async def stream(self) -> None:
        """Request a stream."""
        request = self.request(EVENTS, stream=True, partial_images=2)
        await events(self.session, self.server, request)

    @property
    def kinds(self) -> dict[str, tuple[int, Callable[[], Awaitable[None]]]]:
        """Kinds of requests with their percentage."""
        return {
            "small": (56, lambda: self.send(SMALL)),
            "1.5 MB": (14, lambda: self.send(MEDIUM)),
            "6 MB": (4, lambda: self.send(LARGE)),
            "cacheable, small": (14, lambda: self.send_cached(SMALL)),
            "cacheable, 1.5 MB": (2, lambda: self.send_cached(MEDIUM)),
            "client disconnects": (3, self.disconnect),
            "provider aborts": (3, self.expect_cut),
            "slow reader": (1, self.send_slow_reader),
            "events": (3, self.stream),
        }

    async def one(self, kind: str) -> None:
        """Send one request and record its outcome."""
        try:
            await self.kinds[kind][1]()
        except (BadAnswersError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.failures.append(f"{kind}: {type(error).__name__}: {error}"[:200])
        self.counts[kind] += 1


@dataclass(frozen=True)
class Sample:
    """A sample: seconds since the start, resident bytes, open files."""

    at: float
    resident: int
    files: int


async def generate_load(soak_run: Soak, seconds: float) -> list[Sample]:
    """Send requests at a rate that uses half a core; return one sample per second."""
    kinds = soak_run.kinds
    names, weights = list(kinds), [weight for weight, _ in kinds.values()]
    samples: list[Sample] = []
    running: set[asyncio.Task[None]] = set()
    rate, began, before = 50.0, time.monotonic(), soak_run.server.cpu()
    while (now := time.monotonic()) - began < seconds:
        for name in soak_run.rng.choices(names, weights, k=max(int(rate * _INTERVAL_SECONDS), 1)):
            if len(running) < _MAX_CONCURRENT:
                task = asyncio.create_task(soak_run.one(name))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(_INTERVAL_SECONDS / rate * 0.9)
        await asyncio.sleep(max(now + _INTERVAL_SECONDS - time.monotonic(), 0))
        share = (soak_run.server.cpu() - before) / (time.monotonic() - now)
        before = soak_run.server.cpu()
        faster = 1.25 if len(running) < _SLOWDOWN_CONCURRENT else 1.0
        rate = max(rate * min(max(_CPU_SHARE / max(share, 0.01), 0.8), faster), 5.0)
        samples.append(
            Sample(time.monotonic() - began, soak_run.server.memory(), soak_run.server.files())
        )
        if len(samples) % 30 == 0:
            last = samples[-1]
            log(f"{last.at:5.0f} s: {last.resident / 1e6:.0f} MB, {last.files} files, {rate:.0f}/s")
    await asyncio.gather(*running)
    return samples


def slope(samples: list[Sample]) -> float:
    """Return the growth of memory in bytes per second, by linear regression."""
    if len(samples) < 2:  # noqa: PLR2004 - a line needs two points
        return 0.0
    line = statistics.linear_regression(
        [it.at for it in samples], [float(it.resident) for it in samples]
    )
    return line.slope


async def soak(bench: Bench, minutes: int) -> None:
    """Run the soak, print the verdict and write it into the results."""
    seconds = minutes * 60.0
    result_ttl = min(_RESULT_TTL_SECONDS, seconds / 4)
    gateway = easel("easel-soak", jobs={"result_ttl_seconds": result_ttl})
    with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
        async with bench.started(gateway, Path(folder)) as server:
            async with clients() as session:
                soak_run = Soak(bench, server, session)
                await first_response_time(server, bench.request(EASEL, SMALL))
                await soak_run.send(SMALL)
                tasks, files = await _task_count(server), server.files()
                samples = await generate_load(soak_run, seconds)
            after = await _files_when_idle(server, files)
            tasks_after = await _task_count(server)
    steady = [it for it in samples if it.at > max(seconds / 3, result_ttl)]
    leftovers = Leftovers((files, after), (tasks, tasks_after))
    rows = list(verdict(soak_run, steady, leftovers, minutes, result_ttl))
    print("\n".join(rows))
    result = {
        "about": report.describe_run(bench.site.environment, 0),
        "summary": report.summary(bench.measurements),
        "values": {},
        **report.load_results(),
        "soak": rows,
    }
    report.save_results(result)


async def _files_when_idle(server: Server, files: int) -> int:
    """Wait until idle connections are closed; return the number of open files."""
    log("all clients have disconnected; waiting for idle connections to close ...")
    for _ in range(_IDLE_SECONDS):
        if server.files() <= files:
            break
        await asyncio.sleep(1)
    return server.files()


async def _task_count(server: Server) -> int | None:
    """Return the number of asyncio tasks from the metrics; None if it is not reported."""
    async with clients() as session, session.get(f"{server.url}/metrics") as response:
        found = _TASKS.search(await response.text())
    return round(float(found[1])) if found else None


@dataclass(frozen=True)
class Leftovers:
    """Open files and, if known, asyncio tasks when idle, as (before, after)."""

    files: tuple[int, int]
    tasks: tuple[int | None, int | None]

    @property
    def is_within_limits(self) -> bool:
        """Whether files and tasks are within the limits."""
        before, after = self.files
        return after <= before + _MAX_FILES and self.more_tasks <= _MAX_TASKS

    @property
    def more_tasks(self) -> int:
        """Number of additional tasks."""
        before, after = self.tasks
        return 0 if before is None or after is None else after - before

    def rows(self) -> Iterator[str]:
        """Yield the rows of the results."""
        text = "{}, {}".format(*self.files)
        yield f"| open files when idle: before, after | {text} | at most {_MAX_FILES} more |"
        text = "not reported by `/metrics`" if None in self.tasks else "{}, {}".format(*self.tasks)
        yield f"| asyncio tasks when idle: before, after | {text} | at most {_MAX_TASKS} more |"


def verdict(
    soak_run: Soak, steady: list[Sample], leftovers: Leftovers, minutes: int, result_ttl: float
) -> Iterator[str]:
    """Yield the rows of the results."""
    by_the_minute = slope(steady) * 60
    duration = steady[-1].at - steady[0].at
    growth = slope(steady) * duration / statistics.median(it.resident for it in steady)
    failures = len(soak_run.failures)
    passed = growth <= _MAX_GROWTH and leftovers.is_within_limits and not failures
    total = sum(soak_run.counts.values())
    text = ", ".join(f"{count} {kind}" for kind, count in soak_run.counts.most_common())
    yield (
        f"{minutes} minutes at half a core, {total} requests ({text}); "
        f"`result_ttl_seconds` {result_ttl:g}."
    )
    yield ""
    yield "| measure | measured | target |"
    yield "| --- | --- | --- |"
    yield (
        f"| memory, after {steady[0].at:.0f} s | {steady[0].resident / 1e6:.0f} MB, "
        f"{by_the_minute / 1e6:+.2f} MB per minute, {growth:+.1%} in total | at most +5% |"
    )
    yield f"| peak memory | {max(it.resident for it in steady) / 1e6:.0f} MB | |"
    yield from leftovers.rows()
    yield f"| peak of open files | {max(it.files for it in steady)} | |"
    yield f"| wrong responses | {failures} | 0 |"
    yield ""
    yield f"Verdict: {'passed' if passed else 'FAILED'}."
    yield from (f"- {it}" for it in soak_run.failures[:5])
