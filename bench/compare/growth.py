"""Cost as work grows: more keys and configs, more open jobs, larger configs. CPU per request."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from .asking import asks, first_answer
from .bench import Bench
from .chart import drawn
from .contestants import EASEL, WAITS, easel, production
from .environment import say
from .load import Asked
from .pictures import SMALL
from .servers import Server, StartError

KEYS = (10, 1000, 10_000, 100_000)
OPEN_JOBS = (1, 100, 1000, 5000)
CONFIG_KB = (1, 4, 16, 32)
GROW_KEYS, GROW_JOBS, GROW_CONFIGS = "grow-keys", "grow-jobs", "grow-configs"
_CONNECTIONS, _SECONDS = 8, 3
_TARGET_BYTES = 330

_ANY_CONFIG = """\
request = function()
  wrk.headers["x-portkey-config"] = "pc-" .. math.random(0, {most})
  return wrk.format()
end
"""


async def growth(bench: Bench, rounds: int) -> str:
    """Measure all three; gives the curves as SVG."""
    panels = {
        "virtual keys and configs": (GROW_KEYS, keys),
        "open jobs": (GROW_JOBS, open_jobs),
        "KB of inline config": (GROW_CONFIGS, configs),
    }
    curves = {}
    for title, (scenario, work) in panels.items():
        say(f"growth: {title}")
        async with AsyncExitStack() as stack:
            points = await work(bench, stack)
            curves[title] = await _measured(bench, scenario, points, rounds)
    return drawn(curves, "CPU µs a request")


async def _measured(
    bench: Bench, scenario: str, points: Mapping[int, tuple[Server, Asked]], rounds: int
) -> list[tuple[float, float]]:
    """Measure each point in each round, after a round that only warms up."""
    seen: dict[int, list[float]] = {amount: [] for amount in points}
    for number in range(rounds + 1):
        for amount, (server, asked) in points.items():
            got = await bench.under(server, asked, _CONNECTIONS, _SECONDS if number else 2)
            if number:
                seen[amount].append(got["cpu"])
                bench.found.add(scenario, str(amount), {"cpu": got["cpu"]})
    return [(amount, statistics.median(values) * 1e6) for amount, values in seen.items()]


async def _running(bench: Bench, stack: AsyncExitStack, name: str, **settings: Any) -> Server:
    folder = stack.enter_context(tempfile.TemporaryDirectory(dir=bench.site.folder))
    gateway = easel(name, **settings)
    server = await stack.enter_async_context(bench.started(gateway, Path(folder)))
    await first_answer(server, bench.asked(EASEL, SMALL))
    return server


async def keys(bench: Bench, stack: AsyncExitStack) -> dict[int, tuple[Server, Asked]]:
    """Run gateways with more and more virtual keys and configs; any of them is asked for."""
    points = {}
    for amount in KEYS:
        say(f"growth: a gateway with {amount:,} virtual keys and configs is starting")
        ours = production(bench.site, EASEL)["virtual_keys"]
        many = {f"vk-{i}": {**ours[SMALL], "api_key": f"none-{i}"} for i in range(amount)}
        named = {f"pc-{i}": {"virtual_key": f"vk-{i}"} for i in range(amount)}
        settings = {"virtual_keys": {**ours, **many}, "configs": named}
        try:
            server = await _running(bench, stack, f"easel-keys-{amount}", **settings)
        except StartError as error:
            bench.left_out[f"{amount:,} virtual keys and configs"] = str(error)
            continue
        asked = _with_config(bench.asked(EASEL, SMALL), "pc-0")
        points[amount] = (server, replace(asked, more=_ANY_CONFIG.format(most=amount - 1)))
    return points


def _with_config(asked: Asked, config: str) -> Asked:
    kept = {name: it for name, it in asked.headers.items() if name != "x-portkey-virtual-key"}
    return replace(asked, headers={**kept, "x-portkey-config": config})


async def open_jobs(bench: Bench, stack: AsyncExitStack) -> dict[int, tuple[Server, Asked]]:
    """Run gateways with more and more jobs that last longer than the measurement."""
    points = {}
    waiting: list[asyncio.Task[None]] = []

    async def left() -> None:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    expected = 0
    for amount in OPEN_JOBS:
        server = await _running(bench, stack, f"easel-jobs-{amount}")
        asked = bench.asked(EASEL, WAITS[-1])
        waiting += [asyncio.create_task(_waits(bench, server, asked)) for _ in range(amount)]
        expected += amount
        await _opened(bench, expected)
        points[amount] = (server, bench.asked(EASEL, SMALL))
    stack.push_async_callback(left)
    return points


async def _waits(bench: Bench, server: Server, asked: Asked) -> None:
    with suppress(aiohttp.ClientError):
        await asks(bench.session, server, asked)


async def _opened(bench: Bench, amount: int) -> None:
    """Wait until so many requests are open at the provider."""
    async with asyncio.timeout(60):
        while True:
            async with bench.session.get(f"{bench.site.slow}/open") as response:
                if int(await response.text()) >= amount:
                    return
            await asyncio.sleep(0.1)


async def configs(bench: Bench, stack: AsyncExitStack) -> dict[int, tuple[Server, Asked]]:
    """Send larger and larger configs along."""
    server = await _running(bench, stack, "easel-configs")
    asked = bench.asked(EASEL, SMALL)
    return {size: (server, _with_config(asked, inline(size * 1024))) for size in CONFIG_KB}


def inline(size: int) -> str:
    """Give a config of about so many bytes: a chain of targets, the first of which answers."""
    count = max(size // _TARGET_BYTES, 1)
    filling = "u" * (size // count - 75)
    targets = [
        {"virtual_key": SMALL, "name": f"target-{i}", "override_params": {"user": filling}}
        for i in range(count)
    ]
    return orjson.dumps({"strategy": {"mode": "fallback"}, "targets": targets}).decode()
