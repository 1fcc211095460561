"""Metrics of all workers together; counters never decrease."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import aiohttp

from proxy.observability.metrics.merge import decode_snapshot
from proxy.observability.metrics.registry import Metrics
from proxy.workers.metrics import EXITED, REPORT, ExitedWorkersMetrics
from tests.support.gateway import OURS
from tests.support.worker_gateway import WorkerGateway, running, wait_until


async def counted(easel: WorkerGateway) -> float:
    """Return the number of image requests on the metrics page."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{easel.url}/metrics", headers=OURS) as got,
    ):
        page = await got.text()
    return sum(map(float, re.findall(r"^easel_requests_total\{.*\} (\S+)$", page, re.MULTILINE)))


async def test_any_worker_reports_all_workers_and_exited_ones(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        assert [await easel.generate() for _ in range(12)] == [200] * 12
        assert [await counted(easel) for _ in range(4)] == [12] * 4
        # What a worker has counted it tells once a second.
        first = easel.workers[0]
        await asyncio.sleep(1.5)
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: first not in easel.workers and len(easel.listeners) == 2)
        assert await counted(easel) == 12
        assert [await easel.generate() for _ in range(4)] == [200] * 4
        assert await counted(easel) == 16


async def test_counters_of_an_exited_worker_stay() -> None:
    gone, metrics = ExitedWorkersMetrics(), Metrics()
    metrics.jobs_begun.add()
    for life in (1, 2):
        handlers = gone.handlers(life)
        await handlers[REPORT](metrics.snapshot())
        gone.on_exit(life)
    (told,) = [
        it
        for it in decode_snapshot(await handlers[EXITED](b""))
        if it.name == "easel_jobs_begun_total"
    ]
    assert told.samples == [((), [2.0])]


async def test_a_worker_may_exit_without_a_report() -> None:
    gone = ExitedWorkersMetrics()
    gone.on_exit(1)
    await gone.handlers(2)[REPORT](b"\xff")
    gone.on_exit(2)
    assert decode_snapshot(await gone.handlers(3)[EXITED](b"")) == []
