"""Puts it together: state, chain, routes, lifetime. The one place where the order is visible."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.blobs.store import BLOBS, Blobs
from proxy.blobs.urls import PATH as BLOB
from proxy.blobs.urls import SIGNER, Signer
from proxy.cache.store import CACHE, ResponseCache
from proxy.context import BODY_MEMORY, DRAINING, IN_FLIGHT, SETTINGS, STATE_STORE, STRATEGIES
from proxy.endpoints import blobs, cache, health, images, jobs, metrics, models
from proxy.http.body_limits import BodyMemory
from proxy.jobs.budget import BYTES_PER_JOB, RecordingBudget
from proxy.jobs.keys import JOB_CLUSTER, JOBS
from proxy.jobs.limits import ConcurrencyLimit
from proxy.jobs.store import JobStore
from proxy.middlewares import CHAIN, with_tracing
from proxy.middlewares.access import set_gateway_headers
from proxy.observability.access_log import ACCESS_LOG, AccessLog, Stream
from proxy.observability.log_file import LogFile
from proxy.observability.metrics.gauges import Sources, register_gauges
from proxy.observability.metrics.loop_lag import LoopLag
from proxy.observability.metrics.registry import METRICS, Metrics
from proxy.reload.live_settings import LIVE_SETTINGS, LiveSettings
from proxy.routing.circuit_breaker import LocalCircuitBreakers
from proxy.routing.strategies import HashSticky, MemorySticky, StrategySelector
from proxy.settings.loader import Settings
from proxy.settings.schema import Log
from proxy.upstream.client import UPSTREAM, Upstream, drawn

if TYPE_CHECKING:
    from proxy.cache.index import SharedIndex
    from proxy.jobs.cluster import Sharing
    from proxy.observability.tracing.spans import Tracer
    from proxy.routing.shared_circuits import SharedCircuitBreakers
    from proxy.state.ops import Shared
    from proxy.state.redis_client import SharedRedis


def make_app(  # noqa: PLR0913 - what tests give, each by its name
    settings: Settings,
    *,
    log_to: Stream | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    make_call_id: Callable[[], int] = drawn,
    strategies: StrategySelector | None = None,
    state_store: Shared | None = None,
    cache_index: SharedIndex | None = None,
) -> web.Application:
    """Make the gateway.

    `sleep` is what waits between two polls of a provider, `draw` makes one call differ from others.

    `log_to` gets the access lines; what the settings say unless given.

    `chooser` holds circuits, sticky choices and chance; this process's own unless given.
    `shared` is what it knows together with others, unless it has a Redis for that. `index` is the
    cache's, if others have it too.
    """
    tracer = _tracer(settings)
    chain = with_tracing(CHAIN, tracer) if tracer else CHAIN
    app = web.Application(middlewares=chain, client_max_size=settings.limits.body_bytes)
    app[SETTINGS] = settings
    app[BODY_MEMORY] = BodyMemory(settings.limits.bodies_bytes, settings.limits.body_ratio)
    app[LIVE_SETTINGS] = LiveSettings(settings)
    app[BLOBS] = Blobs(settings, cache_index.folder if cache_index else "")
    redis, state_store = _shared(settings, state_store)
    app[CACHE] = _cache(settings, app[BLOBS], redis, cache_index)
    app[SIGNER] = Signer(settings.blobs.signing_key, settings.state_dir)
    circuits = _circuits(state_store)
    app[STRATEGIES] = strategies or (
        StrategySelector(circuits, HashSticky())
        if circuits
        else StrategySelector(LocalCircuitBreakers(), MemorySticky())
    )
    app[ACCESS_LOG] = AccessLog(log_to or _stream(settings.log), settings.log.format)
    app[METRICS] = Metrics()
    app[STATE_STORE] = state_store
    app[DRAINING] = []
    app[IN_FLIGHT] = set()
    app[JOBS] = _jobs(settings)
    app[JOB_CLUSTER] = _sharing(settings, app)

    async def traces(_: web.Application) -> AsyncIterator[None]:
        async with tracer or nullcontext():
            yield

    async def upstream(app: web.Application) -> AsyncIterator[None]:
        talks = Upstream(settings, sleep, draw=make_call_id, metrics=app[METRICS])
        async with talks as app[UPSTREAM]:
            yield
        app[ACCESS_LOG].flush()

    async def common(_: web.Application) -> AsyncIterator[None]:
        async with redis or nullcontext(), circuits or nullcontext():
            yield

    async def blobs(app: web.Application) -> AsyncIterator[None]:
        async with app[BLOBS], app[CACHE]:
            yield

    async def jobs(app: web.Application) -> AsyncIterator[None]:
        await app[JOBS].restore()
        async with app[JOB_CLUSTER] or nullcontext():
            yield
        await app[JOBS].close()

    async def watched(app: web.Application) -> AsyncIterator[None]:
        lag = LoopLag()
        sources = Sources(
            jobs=app[JOBS],
            traffic=lambda: app[UPSTREAM].dialer,
            circuits=app[STRATEGIES].circuits,
            reloads=app[LIVE_SETTINGS],
            running=app[IN_FLIGHT],
            draining=app[DRAINING],
        )
        register_gauges(app[METRICS], sources, lag, redis)
        lag.start()
        yield
        lag.stop()

    app.cleanup_ctx.extend((traces, upstream, common, blobs, jobs, watched))
    app.on_response_prepare.append(set_gateway_headers)
    _add_routes(app)
    return app


def _stream(log: Log) -> Stream:
    """Give what access lines are written to; raises `OSError` where a file cannot be."""
    return LogFile(log.file) if log.file else sys.stdout


def _shared(settings: Settings, given: Shared | None) -> tuple[SharedRedis | None, Shared | None]:
    """Have nodes share what they know, if they have a Redis: it reaches farther than a machine."""
    if not settings.redis.url:
        return None, given
    from proxy.cluster import RedisShared, SharedRedis  # noqa: PLC0415 - see that module

    redis = SharedRedis(settings.redis)
    return redis, RedisShared(redis)


def _circuits(shared: Shared | None) -> SharedCircuitBreakers | None:
    if shared is None:
        return None
    from proxy.cluster import SharedCircuitBreakers  # noqa: PLC0415 - see that module

    return SharedCircuitBreakers(shared)


def _cache(
    settings: Settings, blobs: Blobs, redis: SharedRedis | None, index: SharedIndex | None
) -> ResponseCache:
    """Make the cache: this process's own, that of all workers, or of all who share a Redis."""
    if redis is None:
        return ResponseCache(
            settings.cache, blobs, index, shared_folder=index.folder if index else ""
        )
    from proxy.cluster import cache  # noqa: PLC0415 - see that module

    return cache(settings, blobs, redis)


def _jobs(settings: Settings) -> JobStore:
    """Make the register of jobs, as the settings want it."""
    return JobStore(
        RecordingBudget(settings.jobs.memory_bytes, settings.jobs.disk_bytes, BYTES_PER_JOB),
        Path(settings.state_dir).expanduser() / "jobs",
        result_ttl=settings.jobs.park_seconds,
        cancel_on_disconnect=settings.jobs.on_disconnect == "cancel",
        limit=ConcurrencyLimit(settings.limits.jobs, settings.limits.caller_jobs),
    )


def _tracer(settings: Settings) -> Tracer | None:
    """Make what makes spans, where they are asked for."""
    if not settings.tracing.is_on:
        return None
    from proxy.observability.tracing.spans import Tracer  # noqa: PLC0415 - an extra, and most have no traces

    return Tracer(settings.tracing)


def _sharing(settings: Settings, app: web.Application) -> Sharing | None:
    """Have this process's jobs shared with others, if there are any."""
    if (shared := app[STATE_STORE]) is None:
        return None
    from proxy.cluster import sharing  # noqa: PLC0415 - see that module

    return sharing(settings, app, shared)


def _add_routes(app: web.Application) -> None:
    """Say which paths there are, with and without `/v1`."""
    generate = images.image_generation()
    for prefix in ("/v1", ""):
        app.router.add_post(f"{prefix}/images/generations", generate)
        app.router.add_delete(f"{prefix}/cache", cache.clear_cache)
        app.router.add_get(f"{prefix}/images/jobs/{{id}}", jobs.get_job)
        app.router.add_delete(f"{prefix}/images/jobs/{{id}}", jobs.delete_job)
        app.router.add_get(f"{prefix}/models", models.list_models)
        app.router.add_get(f"{prefix}/images/models", models.list_image_models)
        app.router.add_get(
            prefix + "/images/models/{provider}/{model:.+}", models.describe_image_model
        )
    app.router.add_get(BLOB, blobs.get_blob)
    app.router.add_get("/", health.root)
    app.router.add_get("/healthz", health.healthz)
    app.router.add_get("/readyz", health.readyz)
    app.router.add_get("/metrics", metrics.metrics)
