"""CPU per request with more keys and configs, more open jobs, and larger configs."""

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

from .bench import Bench
from .chart import draw
from .contestants import EASEL, WAITS, easel, production
from .environment import log
from .load import Request
from .requests import first_response_time, send_request
from .responses import SMALL
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
    """Measure all three; return the curves as SVG."""
    panels = {
        "virtual keys and configs": (GROW_KEYS, keys),
        "open jobs": (GROW_JOBS, open_jobs),
        "KB of inline config": (GROW_CONFIGS, configs),
    }
    curves = {}
    for title, (scenario, work) in panels.items():
        log(f"growth: {title}")
        async with AsyncExitStack() as stack:
            points = await work(bench, stack)
            curves[title] = await _measured(bench, scenario, points, rounds)
    return draw(curves, "CPU µs per request")


async def _measured(
    bench: Bench, scenario: str, points: Mapping[int, tuple[Server, Request]], rounds: int
) -> list[tuple[float, float]]:
    """Measure each point in each round, after a warm-up round."""
    seen: dict[int, list[float]] = {amount: [] for amount in points}
    for number in range(rounds + 1):
        for amount, (server, request) in points.items():
            got = await bench.measure_server(
                server, request, _CONNECTIONS, _SECONDS if number else 2
            )
            if number:
                seen[amount].append(got["cpu"])
                bench.measurements.add(scenario, str(amount), {"cpu": got["cpu"]})
    return [(amount, statistics.median(values) * 1e6) for amount, values in seen.items()]


async def _run_easel(bench: Bench, stack: AsyncExitStack, name: str, **settings: Any) -> Server:
    folder = stack.enter_context(tempfile.TemporaryDirectory(dir=bench.site.folder))
    gateway = easel(name, **settings)
    server = await stack.enter_async_context(bench.started(gateway, Path(folder)))
    await first_response_time(server, bench.request(EASEL, SMALL))
    return server


async def keys(bench: Bench, stack: AsyncExitStack) -> dict[int, tuple[Server, Request]]:
    """Run gateways with increasing numbers of virtual keys and configs, requested at random."""
    points = {}
    for amount in KEYS:
        log(f"growth: a gateway with {amount:,} virtual keys and configs is starting")
        ours = production(bench.site, EASEL)["virtual_keys"]
        many = {f"vk-{i}": {**ours[SMALL], "api_key": f"none-{i}"} for i in range(amount)}
        named = {f"pc-{i}": {"virtual_key": f"vk-{i}"} for i in range(amount)}
        settings = {"virtual_keys": {**ours, **many}, "configs": named}
        try:
            server = await _run_easel(bench, stack, f"easel-keys-{amount}", **settings)
        except StartError as error:
            bench.left_out[f"{amount:,} virtual keys and configs"] = str(error)
            continue
        request = _with_config(bench.request(EASEL, SMALL), "pc-0")
        points[amount] = (server, replace(request, lua=_ANY_CONFIG.format(most=amount - 1)))
    return points


def _with_config(request: Request, config: str) -> Request:
    kept = {name: it for name, it in request.headers.items() if name != "x-portkey-virtual-key"}
    return replace(request, headers={**kept, "x-portkey-config": config})


async def open_jobs(bench: Bench, stack: AsyncExitStack) -> dict[int, tuple[Server, Request]]:
    """Run gateways with increasing numbers of jobs that outlast the measurement."""
    points = {}
    waiting: list[asyncio.Task[None]] = []

    async def cancel_waiting() -> None:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    expected = 0
    for amount in OPEN_JOBS:
        server = await _run_easel(bench, stack, f"easel-jobs-{amount}")
        request = bench.request(EASEL, WAITS[-1])
        waiting += [
            asyncio.create_task(_send_waiting_request(bench, server, request))
            for _ in range(amount)
        ]
        expected += amount
        await _wait_until_open(bench, expected)
        points[amount] = (server, bench.request(EASEL, SMALL))
    stack.push_async_callback(cancel_waiting)
    return points


async def _send_waiting_request(bench: Bench, server: Server, request: Request) -> None:
    with suppress(aiohttp.ClientError):
        await send_request(bench.session, server, request)


async def _wait_until_open(bench: Bench, amount: int) -> None:
    """Wait until `amount` requests are open at the provider."""
    async with asyncio.timeout(60):
        while True:
            async with bench.session.get(f"{bench.site.slow}/open") as response:
                if int(await response.text()) >= amount:
                    return
            await asyncio.sleep(0.1)


async def configs(bench: Bench, stack: AsyncExitStack) -> dict[int, tuple[Server, Request]]:
    """Send inline configs of increasing size."""
    server = await _run_easel(bench, stack, "easel-configs")
    request = bench.request(EASEL, SMALL)
    return {size: (server, _with_config(request, inline(size * 1024))) for size in CONFIG_KB}


def inline(size: int) -> str:
    """Return a config of about `size` bytes: a fallback whose first target answers."""
    count = max(size // _TARGET_BYTES, 1)
    filling = "u" * (size // count - 75)
    targets = [
        {"virtual_key": SMALL, "name": f"target-{i}", "override_params": {"user": filling}}
        for i in range(count)
    ]
    return orjson.dumps({"strategy": {"mode": "fallback"}, "targets": targets}).decode()
