"""A process's own numbers, and those that others add to them."""

from __future__ import annotations

import pytest

from proxy.observability.metrics.merge import (
    COUNTER,
    GAUGE,
    MetricSnapshot,
    decode_snapshot,
    merge_snapshots,
)
from proxy.observability.metrics.registry import Metrics


def told(snapshot: bytes) -> dict[str, MetricSnapshot]:
    return {it.name: it for it in decode_snapshot(snapshot)}


async def test_by_default_the_numbers_are_this_processs_own() -> None:
    metrics = Metrics()
    metrics.fallbacks.add(("a",))
    assert await metrics.gather() == metrics.snapshot()
    assert told(metrics.snapshot())["easel_fallbacks_total"].samples == [(("a",), [1])]


async def test_whoever_runs_several_processes_says_where_the_numbers_come_from() -> None:
    metrics, other = Metrics(), Metrics()
    metrics.jobs_begun.add()
    other.jobs_begun.add((), 2)

    async def of_both() -> bytes:
        return merge_snapshots([metrics.snapshot(), other.snapshot()])

    metrics.gather = of_both
    assert told(await metrics.gather())["easel_jobs_begun_total"].samples == [((), [3])]


def test_others_add_what_they_count_themselves() -> None:
    metrics, reloads = Metrics(), {"good": 1, "bad": 0}
    metrics.counter("easel_reloads_total", "Reloads.", lambda: reloads, "result")
    metrics.gauge("easel_age_seconds", "Age.", lambda: 7, merge="max")
    reloads["good"] += 1
    found = told(metrics.snapshot())
    assert found["easel_reloads_total"].samples == [(("good",), [2.0]), (("bad",), [0.0])]
    assert (found["easel_reloads_total"].kind, found["easel_age_seconds"].kind) == (COUNTER, GAUGE)
    assert found["easel_age_seconds"].merge == "max"


def test_two_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="easel_retries_total"):
        Metrics().counter("easel_retries_total", "Again.", lambda: 0)
