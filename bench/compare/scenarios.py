"""The scenarios: a table of loads, and those that need more than a load.

Every value is per contestant and round; times are in seconds, memory is in bytes.
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
from .environment import log
from .load import BadAnswersError, Request
from .mock import BETWEEN
from .requests import check_image, events, first_response_time, read_slowly, send_request
from .responses import BY_URL, HUGE, LARGE, MEDIUM, SMALL, image_of
from .servers import Server


@dataclass(frozen=True)
class LoadScenario:
    """A load: connections that request `what` continuously."""

    id: str
    title: str
    what: str
    connections: int
    seconds: int
    who: tuple[str, ...]


_CACHING = (EASEL, PORTKEY, STATIC)
LOADS = (
    LoadScenario("small-64", "small responses, 64 connections", SMALL, 64, 4, GATEWAYS),
    LoadScenario("small-8", "small responses, 8 connections", SMALL, 8, 4, GATEWAYS),
    LoadScenario("small-1", "small responses, 1 connection", SMALL, 1, 3, (DIRECT, *GATEWAYS)),
    LoadScenario("medium-1", "1.5 MB, 1 connection", MEDIUM, 1, 3, (DIRECT, *GATEWAYS)),
    LoadScenario("large-1", "6 MB, 1 connection", LARGE, 1, 3, (DIRECT, *GATEWAYS)),
    LoadScenario("large-4", "6 MB, 4 connections", LARGE, 4, 4, (*GATEWAYS, KEEPS_NOTHING)),
    LoadScenario("hit-small", "cache hits, small, 8 connections", CACHED + SMALL, 8, 3, _CACHING),
    LoadScenario(
        "hit-medium", "cache hits, 1.5 MB, 8 connections", CACHED + MEDIUM, 8, 3, _CACHING
    ),
)
"""Each round runs one load after the other, and each load one contestant after the other."""

QUICK = ("small-64", "small-8", "large-4")
SMOKE = ("small-8", "large-4", "hit-small")
FORMS_ASKED = {"b64_json": BY_URL, "url": ""}
"""The requested form, and the prefix of the provider's response size."""
STREAMS, FRESH, CROWD, FORMS = "events", "fresh", "crowd", "forms"
WORKERS = "workers"

MEMORY_FULL = "easel-memory-full"

WARM_SECONDS = 10
_SLOW_READERS, _SLOW_SECONDS = 64, 5.0
_CROWD, _CROWD_SECONDS = 1000, 30.0
_PROBE_EVERY = 0.1
_STREAMED = 20
_KEEPS_ON_DISK = easel("easel-keeps-on-disk", jobs={"memory_bytes": 1 << 20})
"""Stored results are on disk, so that memory shows only the cost of another form."""
_BY_WORKERS = (
    easel(),
    easel(TWO_WORKERS, server={"shutdown_seconds": 0, "workers": 2}),
)
_WORKERS_CONNECTIONS = 64


async def warm_up(bench: Bench, seconds: int = WARM_SECONDS, load_ids: Sequence[str] = ()) -> None:
    """Warm up each server: JIT compiler, connection pools, caches.

    `load_ids` are the loads that follow, if not all.
    """
    for who in bench.servers:
        if who not in (DIRECT, STATIC):
            log(f"warming up {who} ...")
            await bench.measure(who, SMALL, 64, seconds)
    for load in LOADS:
        if load.what.startswith(CACHED) and (not load_ids or load.id in load_ids):
            for who in load.who:
                if who in bench.servers:
                    await bench.measure(who, load.what, 1, 1)


async def loads(bench: Bench, load: LoadScenario, number: int, seconds: int = 0) -> None:
    """Measure all contestants of a load, in another order each round."""
    who = [it for it in load.who if it in bench.servers]
    turn = number % len(who)
    for one in who[turn:] + who[:turn]:
        got = await bench.measure(one, load.what, load.connections, seconds or load.seconds)
        bench.measurements.add(load.id, one, got)


async def streams(bench: Bench, times: int = _STREAMED) -> None:
    """Measure the latency of each event and count streams with an event that was held back.

    Measures a new Easel, and the one that was under load, whose result memory is full.
    """
    direct = Server(DIRECT, bench.site.slow, bench.mock.pid, bench.mock.started)
    with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
        async with bench.started(bench.contestants[EASEL], Path(folder)) as new:
            await first_response_time(new, bench.request(EASEL, SMALL))
            relay, full = bench.servers[RELAY], bench.servers[EASEL]
            for name, who, server in (
                (DIRECT, DIRECT, direct),
                (RELAY, RELAY, relay),
                (EASEL, EASEL, new),
                (MEMORY_FULL, EASEL, full),
            ):
                request = bench.request(who, EVENTS, stream=True, partial_images=2)
                await events(bench.session, server, request)
                seen = [await events(bench.session, server, request) for _ in range(times)]
                bench.measurements.add(STREAMS, name, _delays(seen))


def _delays(seen: Sequence[Sequence[float]]) -> dict[str, float]:
    return {
        "first": statistics.median(delays[0] for delays in seen),
        "worst": statistics.median(max(delays) for delays in seen),
        "held": sum(any(it > BETWEEN / 2 for it in delays) for delays in seen),
    }


async def check_streams_of_others(bench: Bench) -> None:
    """Request a stream from each other gateway once; record those that fail."""
    for who in ("portkey", "litellm"):
        if who in bench.servers:
            try:
                request = bench.request(who, EVENTS, stream=True, partial_images=2)
                await events(bench.session, bench.servers[who], request)
            except (BadAnswersError, ValueError, KeyError, OSError) as error:
                bench.left_out[f"events of {NAMES[who]}"] = str(error)


async def fresh(bench: Bench, readers: int = _SLOW_READERS, seconds: float = _SLOW_SECONDS) -> None:
    """Start each contestant again: start time, idle memory, and peak with slow readers."""
    for who in (*GATEWAYS, KEEPS_NOTHING):
        if who not in bench.contestants:
            continue
        with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
            async with bench.started(bench.contestants[who], Path(folder)) as server:
                took = await first_response_time(server, bench.request(who, SMALL))
                await asyncio.sleep(0.5)
                idle = server.memory()
                server.reset_peak()
                await read_slowly_together(
                    bench, server, bench.request(who, LARGE), readers, seconds
                )
                measures = {"start": took, "idle": idle, "peak": server.memory("VmHWM")}
                bench.measurements.add(FRESH, who, measures)


async def read_slowly_together(
    bench: Bench, server: Server, request: Request, readers: int, seconds: float
) -> None:
    """Read a response slowly with many concurrent clients."""
    async with asyncio.TaskGroup() as group:
        for _ in range(readers):
            group.create_task(read_slowly(bench.session, server, request, seconds))


async def crowd(bench: Bench, readers: int = _CROWD, seconds: float = _CROWD_SECONDS) -> None:
    """Request small responses while 1,000 clients read slowly."""
    with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
        async with bench.started(bench.contestants[EASEL], Path(folder)) as server:
            await first_response_time(server, bench.request(EASEL, SMALL))
            server.reset_peak()
            reading = asyncio.create_task(
                read_slowly_together(bench, server, bench.request(EASEL, LARGE), readers, seconds)
            )
            sizes, times = await _sample(bench, server, reading)
            half = len(sizes) // 2
            bench.measurements.add(
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


async def _sample(
    bench: Bench, server: Server, work: asyncio.Task[None]
) -> tuple[list[int], list[float]]:
    """Sample a server's memory and latency until `work` is done."""
    sizes, times = [], []
    request = bench.request(EASEL, SMALL)
    while not work.done():
        began = time.monotonic()
        await send_request(bench.session, server, request)
        times.append(time.monotonic() - began)
        sizes.append(server.memory())
        await asyncio.sleep(_PROBE_EVERY)
    await work
    return sizes, times


async def workers(bench: Bench, seconds: int = 4, warm_up_seconds: int = WARM_SECONDS) -> None:
    """Measure one worker and two, each on all cores."""
    for contestant in _BY_WORKERS:
        request = bench.request(EASEL, SMALL)
        with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
            async with bench.started(contestant, Path(folder), core=None) as server:
                await first_response_time(server, request)
                await bench.measure_server(server, request, _WORKERS_CONNECTIONS, warm_up_seconds)
                got = await bench.measure_server(server, request, _WORKERS_CONNECTIONS, seconds)
                bench.measurements.add(WORKERS, contestant.name, got)


def _in_form(bench: Bench, form: str, what: str) -> Request:
    request = bench.request(EASEL, what, response_format=form)
    size = what.removeprefix(BY_URL)
    return replace(
        request, min_bytes=bench.request(EASEL, size).min_bytes if form == "b64_json" else 1
    )


async def _added(bench: Bench, request: Request, small: Request) -> int:
    """Return how much a response adds to the peak memory of a new gateway."""
    with tempfile.TemporaryDirectory(dir=bench.site.folder) as folder:
        async with bench.started(_KEEPS_ON_DISK, Path(folder)) as server:
            await first_response_time(server, small)
            for _ in range(20):
                await send_request(bench.session, server, small)
            before = server.reset_peak()
            await send_request(bench.session, server, request)
            return server.memory("VmHWM") - before


async def forms(bench: Bench, seconds: int = 3, sizes: Sequence[str] = (LARGE, HUGE)) -> None:
    """Request another form than the provider's; measure the added memory and the CPU."""
    for form, what in FORMS_ASKED.items():
        for size in sizes:
            request = _in_form(bench, form, what + size)
            added = await _added(bench, request, _in_form(bench, form, what + SMALL))
            if form == "b64_json":
                image = (bench.site.folder / f"{size}.png").read_bytes()
                await check_image(bench.session, bench.servers[EASEL], request, image)
            got = await bench.measure_server(bench.servers[EASEL], request, 1, seconds)
            bench.measurements.add(FORMS, f"{form}-{size}", {"added": added, "cpu": got["cpu"]})
    image, began = image_of(LARGE), time.process_time()
    for _ in range(20):
        b64encode(image)
    bench.measurements.add(FORMS, "base64", {"cpu": (time.process_time() - began) / 20})
