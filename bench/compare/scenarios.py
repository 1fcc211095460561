"""What is measured: the table of loads, and what takes more than a load.

Every number is per contestant and round; times are in seconds, memory is in bytes.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .asking import asks, events, first_answer, is_right, reads_slowly
from .bench import Bench
from .contestants import (
    CACHED,
    DIRECT,
    EASEL,
    EVENTS,
    GATEWAYS,
    KEEPS_NOTHING,
    NAMES,
    PORTKEY,
    RELAY,
    STATIC,
    TWO_WORKERS,
    easel,
)
from .environment import say
from .load import Asked, BadAnswersError
from .mock import BETWEEN
from .pictures import BY_URL, HUGE, LARGE, MEDIUM, SMALL, held
from .servers import Server


@dataclass(frozen=True)
class Loaded:
    """A load: so many connections ask for `what`, as fast as they are answered."""

    id: str
    title: str
    what: str
    connections: int
    seconds: int
    who: tuple[str, ...]


_CACHING = (EASEL, PORTKEY, STATIC)
LOADS = (
    Loaded("small-64", "small answers, 64 connections", SMALL, 64, 4, GATEWAYS),
    Loaded("small-8", "small answers, 8 connections", SMALL, 8, 4, GATEWAYS),
    Loaded("small-1", "small answers, 1 connection", SMALL, 1, 3, (DIRECT, *GATEWAYS)),
    Loaded("medium-1", "1.5 MB, 1 connection", MEDIUM, 1, 3, (DIRECT, *GATEWAYS)),
    Loaded("large-1", "6 MB, 1 connection", LARGE, 1, 3, (DIRECT, *GATEWAYS)),
    Loaded("large-4", "6 MB, 4 connections", LARGE, 4, 4, (*GATEWAYS, KEEPS_NOTHING)),
    Loaded("hit-small", "cache hits, small, 8 connections", CACHED + SMALL, 8, 3, _CACHING),
    Loaded("hit-medium", "cache hits, 1.5 MB, 8 connections", CACHED + MEDIUM, 8, 3, _CACHING),
)
"""In each round one load after the other, and in each load one contestant after the other."""

QUICK = ("small-64", "small-8", "large-4")
SMOKE = ("small-8", "large-4", "hit-small")
FORMS_ASKED = {"b64_json": BY_URL, "url": ""}
"""The form asked for, and what comes before the size of what a provider answers with."""
STREAMS, FRESH, CROWD, FORMS = "events", "fresh", "crowd", "forms"
WORKERS = "workers"

MEMORY_FULL = "easel-memory-full"

WARM_SECONDS = 10
_SLOW_READERS, _SLOW_SECONDS = 64, 5.0
_CROWD, _CROWD_SECONDS = 1000, 30.0
_PROBE_EVERY = 0.1
_STREAMED = 20
_KEEPS_ON_DISK = easel("easel-keeps-on-disk", jobs={"memory_bytes": 1 << 20})
"""What is kept for retries is not what another form adds."""
_BY_WORKERS = (
    easel(),
    easel(TWO_WORKERS, server={"shutdown_seconds": 0, "workers": 2}),
)
_WORKERS_CONNECTIONS = 64


async def warm(bench: Bench, seconds: int = WARM_SECONDS, measured: Sequence[str] = ()) -> None:
    """Give each server its time: a JIT compiler, pools of connections, a cache to be hit.

    `measured` are the loads that follow, if not all of them.
    """
    for who in bench.servers:
        if who not in (DIRECT, STATIC):
            say(f"warming up {who} ...")
            await bench.loaded(who, SMALL, 64, seconds)
    for load in LOADS:
        if load.what.startswith(CACHED) and (not measured or load.id in measured):
            for who in load.who:
                if who in bench.servers:
                    await bench.loaded(who, load.what, 1, 1)


async def loads(bench: Bench, load: Loaded, number: int, seconds: int = 0) -> None:
    """Measure all who take part, in another order each round."""
    who = [it for it in load.who if it in bench.servers]
    turn = number % len(who)
    for one in who[turn:] + who[:turn]:
        got = await bench.loaded(one, load.what, load.connections, seconds or load.seconds)
        bench.found.add(load.id, one, got)


async def streams(bench: Bench, times: int = _STREAMED) -> None:
    """Measure how far behind the provider each event is, and how many were held back.

    A new Easel, and the one that has been under load, whose memory for answers is full.
    """
    direct = Server(DIRECT, bench.site.slow, bench.mock.pid, bench.mock.started)
    with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
        async with bench.started(bench.contestants[EASEL], Path(folder)) as new:
            await first_answer(new, bench.asked(EASEL, SMALL))
            relay, full = bench.servers[RELAY], bench.servers[EASEL]
            for name, who, server in (
                (DIRECT, DIRECT, direct),
                (RELAY, RELAY, relay),
                (EASEL, EASEL, new),
                (MEMORY_FULL, EASEL, full),
            ):
                asked = bench.asked(who, EVENTS, stream=True, partial_images=2)
                await events(bench.session, server, asked)
                seen = [await events(bench.session, server, asked) for _ in range(times)]
                bench.found.add(STREAMS, name, _behind(seen))


def _behind(seen: Sequence[Sequence[float]]) -> dict[str, float]:
    return {
        "first": statistics.median(late[0] for late in seen),
        "worst": statistics.median(max(late) for late in seen),
        "held": sum(any(it > BETWEEN / 2 for it in late) for late in seen),
    }


async def streams_of_rivals(bench: Bench) -> None:
    """Ask the others for events once, and note where they have none."""
    for who in ("portkey", "litellm"):
        if who in bench.servers:
            try:
                asked = bench.asked(who, EVENTS, stream=True, partial_images=2)
                await events(bench.session, bench.servers[who], asked)
            except (BadAnswersError, ValueError, KeyError, OSError) as error:
                bench.left_out[f"events of {NAMES[who]}"] = str(error)


async def fresh(bench: Bench, readers: int = _SLOW_READERS, seconds: float = _SLOW_SECONDS) -> None:
    """Start each contestant anew: the time, and the memory idle and with slow readers."""
    for who in (*GATEWAYS, KEEPS_NOTHING):
        if who not in bench.contestants:
            continue
        with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
            async with bench.started(bench.contestants[who], Path(folder)) as server:
                took = await first_answer(server, bench.asked(who, SMALL))
                await asyncio.sleep(0.5)
                idle = server.memory()
                server.reset_peak()
                await crowded(bench, server, bench.asked(who, LARGE), readers, seconds)
                measures = {"start": took, "idle": idle, "peak": server.memory("VmHWM")}
                bench.found.add(FRESH, who, measures)


async def crowded(bench: Bench, server: Server, asked: Asked, readers: int, seconds: float) -> None:
    """Have an answer read slowly by many at once."""
    async with asyncio.TaskGroup() as group:
        for _ in range(readers):
            group.create_task(reads_slowly(bench.session, server, asked, seconds))


async def crowd(bench: Bench, readers: int = _CROWD, seconds: float = _CROWD_SECONDS) -> None:
    """Have 1,000 read slowly, and ask for small answers meanwhile."""
    with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
        async with bench.started(bench.contestants[EASEL], Path(folder)) as server:
            await first_answer(server, bench.asked(EASEL, SMALL))
            server.reset_peak()
            reading = asyncio.create_task(
                crowded(bench, server, bench.asked(EASEL, LARGE), readers, seconds)
            )
            sizes, times = await _watched(bench, server, reading)
            half = len(sizes) // 2
            bench.found.add(
                CROWD,
                EASEL,
                {
                    "peak": server.memory("VmHWM"),
                    "grown": max(sizes[half:]) - max(sizes[:half]),
                    "answered": len(times),
                    "p50": statistics.median(times),
                    "slowest": max(times),
                },
            )


async def _watched(
    bench: Bench, server: Server, work: asyncio.Task[None]
) -> tuple[list[int], list[float]]:
    """Sample a server's memory, and how fast it answers, while something lasts."""
    sizes, times = [], []
    asked = bench.asked(EASEL, SMALL)
    while not work.done():
        began = time.monotonic()
        await asks(bench.session, server, asked)
        times.append(time.monotonic() - began)
        sizes.append(server.memory())
        await asyncio.sleep(_PROBE_EVERY)
    await work
    return sizes, times


async def workers(bench: Bench, seconds: int = 4, warming: int = WARM_SECONDS) -> None:
    """Have one worker and two answer, each on all cores: what the second one adds."""
    for contestant in _BY_WORKERS:
        asked = bench.asked(EASEL, SMALL)
        with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
            async with bench.started(contestant, Path(folder), core=None) as server:
                await first_answer(server, asked)
                await bench.under(server, asked, _WORKERS_CONNECTIONS, warming)
                got = await bench.under(server, asked, _WORKERS_CONNECTIONS, seconds)
                bench.found.add(WORKERS, contestant.name, got)


def _in_form(bench: Bench, form: str, what: str) -> Asked:
    asked = bench.asked(EASEL, what, response_format=form)
    size = what.removeprefix(BY_URL)
    return replace(asked, least=bench.asked(EASEL, size).least if form == "b64_json" else 1)


async def _added(bench: Bench, asked: Asked, small: Asked) -> int:
    """Give what an answer adds to the peak of a gateway that has seen none of that size."""
    with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
        async with bench.started(_KEEPS_ON_DISK, Path(folder)) as server:
            await first_answer(server, small)
            for _ in range(20):
                await asks(bench.session, server, small)
            before = server.reset_peak()
            await asks(bench.session, server, asked)
            return server.memory("VmHWM") - before


async def forms(bench: Bench, seconds: int = 3, sizes: Sequence[str] = (LARGE, HUGE)) -> None:
    """Ask for another form than the provider's: what a picture adds to memory, and its CPU."""
    for form, what in FORMS_ASKED.items():
        for size in sizes:
            asked = _in_form(bench, form, what + size)
            added = await _added(bench, asked, _in_form(bench, form, what + SMALL))
            if form == "b64_json":
                picture = (bench.site.folder / f"{size}.png").read_bytes()
                await is_right(bench.session, bench.servers[EASEL], asked, picture)
            got = await bench.under(bench.servers[EASEL], asked, 1, seconds)
            bench.found.add(FORMS, f"{form}-{size}", {"added": added, "cpu": got["cpu"]})
    picture, began = held(LARGE), time.process_time()
    for _ in range(20):
        b64encode(picture)
    bench.found.add(FORMS, "base64", {"cpu": (time.process_time() - began) / 20})
