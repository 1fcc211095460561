"""Metrics whose values are read at scrape time: gauges, and counters kept elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sized
from typing import TYPE_CHECKING, NamedTuple, Protocol

from proxy import __version__
from proxy.observability.bookkeeping import FAILURES
from proxy.observability.metrics import process
from proxy.observability.metrics.loop_lag import LoopLag
from proxy.observability.metrics.registry import Metrics
from proxy.routing.circuit_breaker import CircuitBreakers

if TYPE_CHECKING:
    from proxy.state.redis_client import RedisClient


class JobCounts(Sized, Protocol):
    """What the job store knows of its jobs: counts, and bytes in memory and on disk."""

    @property
    def running_count(self) -> int:
        """Jobs in progress."""
        ...

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of responses in memory."""
        ...

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of responses on disk."""
        ...

    @property
    def lost_counts(self) -> Mapping[str, float]:
        """Responses that were never collected, by reason."""
        ...


class Traffic(Protocol):
    """What the connectors for providers count."""

    @property
    def received_bytes(self) -> int:
        """Bytes received so far."""
        ...

    def connections(self) -> Mapping[str, float]:
        """Return the number of connections by state."""
        ...


class Reloads(Protocol):
    """What the live settings count."""

    loaded_at: float
    reloads_good: int
    reloads_bad: int


class Sources(NamedTuple):
    """The parts of a gateway that its gauges read. `traffic` returns the connectors in use."""

    jobs: JobCounts
    traffic: Callable[[], Traffic]
    circuits: CircuitBreakers
    reloads: Reloads
    running: Sized
    draining: Sized


def register_gauges(
    metrics: Metrics, sources: Sources, lag: LoopLag, redis: RedisClient | None
) -> None:
    """Register the gauges of a gateway."""
    _register_job_metrics(metrics, sources)
    _register_upstream_metrics(metrics, sources)
    _register_settings_metrics(metrics, sources.reloads)
    _register_process_metrics(metrics, sources.draining, lag)
    if redis is not None:
        metrics.gauge(
            "easel_redis_up",
            "1 while Redis is available, 0 while the gateway runs without it.",
            lambda: float(not redis.is_unavailable),
            merge="min",
        )


def _register_job_metrics(metrics: Metrics, sources: Sources) -> None:
    jobs = sources.jobs
    metrics.gauge(
        "easel_requests_in_flight",
        "Requests in progress.",
        lambda: len(sources.running),
    )
    metrics.gauge(
        "easel_jobs",
        "Jobs, by state.",
        lambda: {"running": jobs.running_count, "stored": len(jobs) - jobs.running_count},
        "state",
    )
    metrics.gauge(
        "easel_jobs_bytes",
        "Bytes of recorded responses, in memory and on disk.",
        lambda: {"memory": jobs.bytes_in_memory, "disk": jobs.bytes_on_disk},
        "place",
    )
    metrics.counter(
        "easel_jobs_lost_total",
        "Finished responses that no client collected, by reason.",
        lambda: jobs.lost_counts,
        "reason",
    )
    metrics.counter(
        "easel_bookkeeping_failures_total",
        "Failures of bookkeeping by part; the response was sent all the same.",
        lambda: FAILURES,
        "part",
    )


def _register_upstream_metrics(metrics: Metrics, sources: Sources) -> None:
    metrics.counter(
        "easel_provider_bytes_total",
        "Bytes received from providers and from the hosts of their images.",
        lambda: sources.traffic().received_bytes,
    )
    metrics.gauge(
        "easel_upstream_connections",
        "Connections to providers, by state.",
        lambda: sources.traffic().connections(),
        "state",
    )
    metrics.gauge(
        "easel_circuits",
        "Circuit breakers that are not closed, by state.",
        lambda: _count_circuits(sources.circuits),
        "state",
    )


def _count_circuits(circuits: CircuitBreakers) -> Mapping[str, float]:
    found = Counter(circuits.states().values())
    return {"open": found["open"], "half-open": found["half-open"]}


def _register_settings_metrics(metrics: Metrics, reloads: Reloads) -> None:
    metrics.counter(
        "easel_reloads_total",
        "Reloads of the settings file, by result.",
        lambda: {"good": reloads.reloads_good, "bad": reloads.reloads_bad},
        "result",
    )
    metrics.gauge(
        "easel_settings_loaded_seconds",
        "Unix time at which the current settings were loaded.",
        lambda: reloads.loaded_at,
        merge="min",
    )


def _register_process_metrics(metrics: Metrics, draining: Sized, lag: LoopLag) -> None:
    gauge = metrics.gauge
    gauge(
        "easel_loop_lag_seconds",
        "Largest event-loop delay of the last 15 seconds.",
        lambda: lag.seconds,
        merge="max",
    )
    gauge("easel_tasks", "Asyncio tasks.", lambda: len(asyncio.all_tasks()))
    gauge("easel_draining", "Processes that are shutting down.", lambda: bool(draining))
    gauge("easel_workers", "Processes whose numbers are added up here.", lambda: 1)
    gauge(
        "easel_build_info",
        "Always 1; the label is the running version.",
        lambda: {__version__: 1},
        "version",
        merge="max",
    )
    metrics.counter("process_cpu_seconds_total", "CPU time, in seconds.", process.cpu_seconds)
    gauge(
        "process_resident_memory_bytes",
        "Resident memory, in bytes.",
        process.resident_bytes,
    )
    gauge("process_open_fds", "Open file descriptors.", process.open_fds)
    gauge(
        "process_max_fds",
        "Limit of open file descriptors per process.",
        process.max_fds,
        merge="min",
    )
    gauge(
        "process_start_time_seconds",
        "Unix time at which the process started.",
        process.start_time,
        merge="min",
    )
