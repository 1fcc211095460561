"""Minutes of everything at half load: whether memory grows, and files stay open.

Sizes of all kinds, clients that leave in the middle, providers that cut, slow readers, and a cache
that is always asked for something else. The rate follows the gateway's CPU, which is to be half a
core.
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
from .asking import asks, clients, events, first_answer, reads_slowly
from .bench import Bench
from .contestants import CACHED, CUT, EASEL, EVENTS, easel
from .environment import say
from .load import Asked, BadAnswersError
from .pictures import LARGE, MEDIUM, SMALL
from .servers import Server

_SHARE = 0.5
_EVERY = 1.0
_MOST_AT_ONCE, _MANY = 400, 100
"""Requests under way that no other is added to, and above which the rate does not rise."""
_PARK_SECONDS = 300.0
_IDLE_SECONDS = 100
_MOST_GROWTH = 0.05
_MOST_FILES = 8
"""What may be open more than before, once all is quiet: a picture store's or a resolver's."""
_MOST_TASKS = 4
"""The same of asyncio tasks."""
_PROMPTS = 2000
_TASKS = re.compile(r"^easel_tasks ([0-9.]+)$", re.MULTILINE)


@dataclass
class Soaking:
    """A gateway under load, and what came of it."""

    bench: Bench
    server: Server
    session: aiohttp.ClientSession
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - the same each time
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def asked(self, what: str, **more: object) -> Asked:
        """Give a request, as a rule one that was not made before."""
        return self.bench.asked(EASEL, what, **{"user": str(self.chance.random()), **more})

    async def whole(self, what: str) -> None:
        """Ask for an answer of a size."""
        asked = self.asked(what)
        got = await asks(self.session, self.server, asked)
        if len(got) < asked.least:
            raise BadAnswersError(f"{len(got)} bytes")

    async def cached(self, what: str) -> None:
        """Ask for one of many answers that may be known."""
        prompt = f"A lighthouse, number {self.chance.randrange(_PROMPTS)}"
        await asks(self.session, self.server, self.asked(CACHED + what, prompt=prompt, user="u"))

    async def leaves(self) -> None:
        """Leave in the middle of an answer."""
        asked = self.asked(LARGE)
        async with self.session.post(
            self.server.url + asked.path, data=asked.body, headers=asked.headers
        ) as response:
            await response.content.read(64 * 1024)
            response.close()

    async def is_cut(self) -> None:
        """Ask a provider that breaks off."""
        try:
            await asks(self.session, self.server, self.asked(CUT))
        except (aiohttp.ClientPayloadError, BadAnswersError):
            return
        raise BadAnswersError("a cut answer looked whole")

    async def slow(self) -> None:
        """Read slowly."""
        await reads_slowly(self.session, self.server, self.asked(LARGE), 20)

    async def streamed(self) -> None:
        """Ask for events."""
        asked = self.asked(EVENTS, stream=True, partial_images=2)
        await events(self.session, self.server, asked)

    @property
    def kinds(self) -> dict[str, tuple[int, Callable[[], Awaitable[None]]]]:
        """What is asked, and how often of a hundred times."""
        return {
            "small": (56, lambda: self.whole(SMALL)),
            "1.5 MB": (14, lambda: self.whole(MEDIUM)),
            "6 MB": (4, lambda: self.whole(LARGE)),
            "may be cached, small": (14, lambda: self.cached(SMALL)),
            "may be cached, 1.5 MB": (2, lambda: self.cached(MEDIUM)),
            "leaves in mid-body": (3, self.leaves),
            "the provider cuts": (3, self.is_cut),
            "reads slowly": (1, self.slow),
            "events": (3, self.streamed),
        }

    async def one(self, kind: str) -> None:
        """Make one request, and note how it went."""
        try:
            await self.kinds[kind][1]()
        except (BadAnswersError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.wrong.append(f"{kind}: {type(error).__name__}: {error}"[:200])
        self.counts[kind] += 1


@dataclass(frozen=True)
class Sample:
    """The gateway at a time: seconds since the start, bytes resident, files open."""

    at: float
    resident: int
    files: int


async def driven(soaking: Soaking, seconds: float) -> list[Sample]:
    """Ask so often that half a core is busy; gives samples, one a second."""
    kinds = soaking.kinds
    names, weights = list(kinds), [weight for weight, _ in kinds.values()]
    samples: list[Sample] = []
    running: set[asyncio.Task[None]] = set()
    rate, began, before = 50.0, time.monotonic(), soaking.server.cpu()
    while (now := time.monotonic()) - began < seconds:
        for name in soaking.chance.choices(names, weights, k=max(int(rate * _EVERY), 1)):
            if len(running) < _MOST_AT_ONCE:
                task = asyncio.create_task(soaking.one(name))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(_EVERY / rate * 0.9)
        await asyncio.sleep(max(now + _EVERY - time.monotonic(), 0))
        share = (soaking.server.cpu() - before) / (time.monotonic() - now)
        before = soaking.server.cpu()
        faster = 1.25 if len(running) < _MANY else 1.0
        rate = max(rate * min(max(_SHARE / max(share, 0.01), 0.8), faster), 5.0)
        samples.append(
            Sample(time.monotonic() - began, soaking.server.memory(), soaking.server.files())
        )
        if len(samples) % 30 == 0:
            last = samples[-1]
            say(f"{last.at:5.0f} s: {last.resident / 1e6:.0f} MB, {last.files} files, {rate:.0f}/s")
    await asyncio.gather(*running)
    return samples


def slope(samples: list[Sample]) -> float:
    """Give the bytes a second by which memory grows: a straight line through the samples."""
    if len(samples) < 2:  # noqa: PLR2004 - a line needs two points
        return 0.0
    line = statistics.linear_regression(
        [it.at for it in samples], [float(it.resident) for it in samples]
    )
    return line.slope


async def soak(bench: Bench, minutes: int) -> None:
    """Run it, print the verdict, and write it into the results."""
    seconds = minutes * 60.0
    park = min(_PARK_SECONDS, seconds / 4)
    gateway = easel("easel-soak", jobs={"result_ttl_seconds": park})
    with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
        async with bench.started(gateway, Path(folder)) as server:
            async with clients() as session:
                soaking = Soaking(bench, server, session)
                await first_answer(server, bench.asked(EASEL, SMALL))
                await soaking.whole(SMALL)
                tasks, files = await _tasks(server), server.files()
                samples = await driven(soaking, seconds)
            after = await _quiet(server, files)
            tasks_after = await _tasks(server)
    warm = [it for it in samples if it.at > max(seconds / 3, park)]
    left = Left((files, after), (tasks, tasks_after))
    rows = list(verdict(soaking, warm, left, minutes, park))
    print("\n".join(rows))
    result = {
        "about": report.facts(bench.site.environment, 0),
        "summary": report.summary(bench.found),
        "values": {},
        **report.kept(),
        "soak": rows,
    }
    report.keep(result)


async def _quiet(server: Server, files: int) -> int:
    """Wait until connections that are idle have been closed; gives how many files are open."""
    say("all clients have left: waiting for what is idle to be closed ...")
    for _ in range(_IDLE_SECONDS):
        if server.files() <= files:
            break
        await asyncio.sleep(1)
    return server.files()


async def _tasks(server: Server) -> int | None:
    """Give how many asyncio tasks the gateway has, as its metrics say; None where they do not."""
    async with clients() as session, session.get(f"{server.url}/metrics") as response:
        found = _TASKS.search(await response.text())
    return round(float(found[1])) if found else None


@dataclass(frozen=True)
class Left:
    """What is open when all is quiet, before and after: files, and asyncio tasks if known."""

    files: tuple[int, int]
    tasks: tuple[int | None, int | None]

    @property
    def is_little(self) -> bool:
        """Tell whether nothing has been left behind."""
        before, after = self.files
        return after <= before + _MOST_FILES and self.more_tasks <= _MOST_TASKS

    @property
    def more_tasks(self) -> int:
        """How many tasks more there are than before."""
        before, after = self.tasks
        return 0 if before is None or after is None else after - before

    def rows(self) -> Iterator[str]:
        """Give the rows of the results."""
        told = "{}, {}".format(*self.files)
        yield f"| files open, idle: before, after | {told} | {_MOST_FILES} more at most |"
        told = "`/metrics` does not say" if None in self.tasks else "{}, {}".format(*self.tasks)
        yield f"| asyncio tasks, idle: before, after | {told} | {_MOST_TASKS} more at most |"


def verdict(
    soaking: Soaking, warm: list[Sample], left: Left, minutes: int, park: float
) -> Iterator[str]:
    """Give the rows of the results."""
    by_the_minute = slope(warm) * 60
    lasted = warm[-1].at - warm[0].at
    grown = slope(warm) * lasted / statistics.median(it.resident for it in warm)
    wrong = len(soaking.wrong)
    good = grown <= _MOST_GROWTH and left.is_little and not wrong
    total = sum(soaking.counts.values())
    told = ", ".join(f"{count} {kind}" for kind, count in soaking.counts.most_common())
    yield f"{minutes} minutes at half a core, {total} requests ({told}); `result_ttl_seconds` {park:g}."
    yield ""
    yield "| what | measured | wanted |"
    yield "| --- | --- | --- |"
    yield (
        f"| memory, after {warm[0].at:.0f} s | {warm[0].resident / 1e6:.0f} MB, "
        f"{by_the_minute / 1e6:+.2f} MB a minute, {grown:+.1%} in all | at most +5% |"
    )
    yield f"| most memory | {max(it.resident for it in warm) / 1e6:.0f} MB | |"
    yield from left.rows()
    yield f"| most files open | {max(it.files for it in warm)} | |"
    yield f"| answers that were not as they should | {wrong} | 0 |"
    yield ""
    yield f"Verdict: {'good' if good else 'NOT GOOD'}."
    yield from (f"- {it}" for it in soaking.wrong[:5])
