"""What is looked at when somebody asks: the gauges of a gateway, and what it counts elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from proxy import __version__
from proxy.context import CHOOSER, DRAINING, JOBS, METRICS, RELOADING, RUNNING, UPSTREAM
from proxy.observability.metrics import process
from proxy.observability.metrics.loop_lag import Lag

if TYPE_CHECKING:
    from proxy.state.redis_client import SharedRedis


def watch(app: web.Application, lag: Lag, redis: SharedRedis | None) -> None:
    """Have the metrics of a gateway look at its parts."""
    _watch_jobs(app)
    _watch_upstream(app)
    _watch_settings(app)
    _watch_process(app, lag)
    if redis is not None:
        app[METRICS].gauge(
            "easel_redis_up",
            "1 while Redis answers, 0 while it is done without.",
            lambda: float(not redis.is_away),
            merge="min",
        )


def _watch_jobs(app: web.Application) -> None:
    metrics = app[METRICS]
    metrics.gauge(
        "easel_requests_in_flight",
        "Requests that are being answered.",
        lambda: len(app[RUNNING]),
    )
    metrics.gauge("easel_jobs", "Jobs, by their state.", partial(_jobs, app), "state")
    metrics.gauge(
        "easel_jobs_bytes",
        "Bytes of jobs' answers that are held.",
        lambda: {"memory": app[JOBS].in_memory, "disk": app[JOBS].on_disk},
        "place",
    )
    metrics.counter(
        "easel_jobs_lost_total",
        "Finished answers that nobody collected.",
        lambda: app[JOBS].lost,
        "reason",
    )


def _jobs(app: web.Application) -> Mapping[str, float]:
    jobs = app[JOBS]
    return {"running": jobs.running, "parked": len(jobs) - jobs.running}


def _watch_upstream(app: web.Application) -> None:
    metrics = app[METRICS]
    metrics.counter(
        "easel_provider_bytes_total",
        "Bytes that came from providers and the hosts of their pictures.",
        lambda: app[UPSTREAM].dialer.received,
    )
    metrics.gauge(
        "easel_upstream_connections",
        "Connections to providers.",
        partial(_connections, app),
        "state",
    )
    metrics.gauge(
        "easel_circuits",
        "Circuits of targets that are not closed.",
        partial(_circuits, app),
        "state",
    )


def _connections(app: web.Application) -> Mapping[str, float]:
    return app[UPSTREAM].dialer.connections()


def _circuits(app: web.Application) -> Mapping[str, float]:
    found = Counter(app[CHOOSER].circuits.states().values())
    return {"open": found["open"], "half-open": found["half-open"]}


def _watch_settings(app: web.Application) -> None:
    metrics = app[METRICS]
    metrics.counter(
        "easel_reloads_total",
        "Times that the settings were read again, by whether they could be used.",
        partial(_reloads, app),
        "result",
    )
    metrics.gauge(
        "easel_settings_loaded_seconds",
        "When the settings in force were loaded, in seconds since the epoch.",
        lambda: app[RELOADING].loaded_at,
        merge="min",
    )


def _reloads(app: web.Application) -> Mapping[str, float]:
    return {"good": app[RELOADING].reloads_good, "bad": app[RELOADING].reloads_bad}


def _watch_process(app: web.Application, lag: Lag) -> None:
    gauge = app[METRICS].gauge
    gauge(
        "easel_loop_lag_seconds",
        "The longest that the event loop was late within the last 15 seconds.",
        lambda: lag.seconds,
        merge="max",
    )
    gauge("easel_tasks", "Asyncio tasks.", lambda: len(asyncio.all_tasks()))
    gauge("easel_draining", "Processes that are stopping.", lambda: bool(app[DRAINING]))
    gauge("easel_workers", "Processes that these numbers are the sum of.", lambda: 1)
    gauge(
        "easel_build_info",
        "1 for the version that runs.",
        lambda: {__version__: 1},
        "version",
        merge="max",
    )
    app[METRICS].counter(
        "process_cpu_seconds_total", "Seconds of processor time.", process.cpu_seconds
    )
    gauge(
        "process_resident_memory_bytes",
        "Bytes of memory that are resident.",
        process.resident_bytes,
    )
    gauge("process_open_fds", "Open files and sockets.", process.open_fds)
    gauge(
        "process_max_fds",
        "The most that may be open in one process.",
        process.max_fds,
        merge="min",
    )
    gauge(
        "process_start_time_seconds",
        "When the process was started, in seconds since the epoch.",
        process.start_time,
        merge="min",
    )
