"""The application factory: services, middlewares, routes and lifetime. Read this module first."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.blobs.keys import BLOBS, SIGNER
from proxy.blobs.store import BlobStore
from proxy.blobs.urls import BLOB_ROUTE as BLOB
from proxy.blobs.urls import Signer
from proxy.cache.store import CACHE, ResponseCache
from proxy.context import BODY_MEMORY, DRAINING, IN_FLIGHT, SETTINGS, STATE_STORE, STRATEGIES
from proxy.endpoints import blobs, cache, health, images, jobs, metrics, models
from proxy.http.body_limits import BodyMemory
from proxy.http.expect import defer_expect, defer_expect_without_route
from proxy.http.paths import API_PREFIXES, AZURE_PATHS, MODELS_PREFIXES, match_unusual_paths
from proxy.jobs.budget import BYTES_PER_JOB, RecordingBudget
from proxy.jobs.keys import JOB_CLUSTER, JOBS
from proxy.jobs.limits import ConcurrencyLimit
from proxy.jobs.store import JobStore
from proxy.middlewares import CHAIN, with_tracing
from proxy.middlewares.access import set_gateway_headers
from proxy.middlewares.auth import PUBLIC_ROUTES
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
from proxy.upstream.client import PROVIDER_CLIENT, ProviderClient, random_call_id

if TYPE_CHECKING:
    from proxy.cache.index import SharedIndex
    from proxy.jobs.cluster import JobCluster
    from proxy.observability.tracing.spans import Tracer
    from proxy.routing.shared_circuits import SharedCircuitBreakers
    from proxy.state.ops import StateStore
    from proxy.state.redis_client import RedisClient


def make_app(  # noqa: PLR0913 - tests replace these one by one
    settings: Settings,
    *,
    log_to: Stream | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    make_call_id: Callable[[], int] = random_call_id,
    strategies: StrategySelector | None = None,
    state_store: StateStore | None = None,
    cache_index: SharedIndex | None = None,
) -> web.Application:
    """Return the gateway's application. Its services start and stop with it.

    `log_to` receives the access lines instead of what the settings name. `sleep` waits between two
    polls of a provider. `make_call_id` returns a number unique to each provider call. `strategies`
    replaces the selector of targets. `state_store` and `cache_index` are shared with the other
    workers; a configured Redis takes their place.
    """
    tracer = _tracer(settings)
    redis, state_store = _state_store(settings, state_store)
    circuits = _shared_circuits(state_store)
    app = web.Application(
        middlewares=with_tracing(CHAIN, tracer) if tracer else CHAIN,
        client_max_size=settings.limits.body_bytes,
    )
    app[SETTINGS] = settings
    app[LIVE_SETTINGS] = LiveSettings(settings)
    app[BODY_MEMORY] = BodyMemory(settings.limits.bodies_bytes, settings.limits.body_ratio)
    app[BLOBS] = BlobStore(settings, cache_index.folder if cache_index else "")
    app[SIGNER] = Signer(settings.blobs.signing_key, settings.state_dir)
    app[CACHE] = _cache(settings, app[BLOBS], redis, cache_index)
    app[STRATEGIES] = strategies or _strategies(circuits)
    app[ACCESS_LOG] = AccessLog(log_to or _log_stream(settings.log), settings.log.format)
    app[METRICS] = Metrics()
    app[STATE_STORE] = state_store
    app[DRAINING] = []
    app[IN_FLIGHT] = set()
    app[JOBS] = _jobs(settings)
    app[JOB_CLUSTER] = _job_cluster(settings, app)
    upstream = ProviderClient(settings, sleep, next_call_id=make_call_id, metrics=app[METRICS])
    app.cleanup_ctx.append(_lifetime(tracer, upstream, redis, circuits))
    app.on_response_prepare.append(set_gateway_headers)
    _add_routes(app)
    return app


def _lifetime(
    tracer: Tracer | None,
    upstream: ProviderClient,
    redis: RedisClient | None,
    circuits: SharedCircuitBreakers | None,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return the application's lifetime: services start in this order and stop in reverse."""

    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            start = stack.enter_async_context
            blob_store, response_cache, cluster = app[BLOBS], app[CACHE], app[JOB_CLUSTER]
            await start(tracer or nullcontext())
            stack.callback(app[ACCESS_LOG].flush)
            app[PROVIDER_CLIENT] = await start(upstream)
            await start(redis or nullcontext())
            await start(circuits or nullcontext())
            await start(blob_store)
            await start(response_cache)
            stack.push_async_callback(app[JOBS].close)
            await app[JOBS].restore()
            await start(cluster or nullcontext())
            stack.callback(_start_gauges(app, redis).stop)
            yield

    return lifetime


def _start_gauges(app: web.Application, redis: RedisClient | None) -> LoopLag:
    """Register the gauges; return the running measurement of the event loop's lag."""
    lag = LoopLag()
    sources = Sources(
        jobs=app[JOBS],
        traffic=lambda: app[PROVIDER_CLIENT].connectors,
        circuits=app[STRATEGIES].circuits,
        reloads=app[LIVE_SETTINGS],
        running=app[IN_FLIGHT],
        draining=app[DRAINING],
    )
    register_gauges(app[METRICS], sources, lag, redis)
    lag.start()
    return lag


def _log_stream(log: Log) -> Stream:
    """Return the stream of the access log; raises `OSError` if its file cannot be opened."""
    return LogFile(log.file) if log.file else sys.stdout


def _state_store(
    settings: Settings, of_workers: StateStore | None
) -> tuple[RedisClient | None, StateStore | None]:
    """Return the Redis client and the state store on it, if configured; else the workers' store."""
    if not settings.redis.url:
        return None, of_workers
    from proxy.cluster import RedisClient, RedisStore  # noqa: PLC0415 - see that module

    redis = RedisClient(settings.redis)
    return redis, RedisStore(redis)


def _strategies(circuits: SharedCircuitBreakers | None) -> StrategySelector:
    """Return the selector of targets. Sticky choices are hashed if several processes make them."""
    if circuits:
        return StrategySelector(circuits, HashSticky())
    return StrategySelector(LocalCircuitBreakers(), MemorySticky())


def _shared_circuits(state_store: StateStore | None) -> SharedCircuitBreakers | None:
    if state_store is None:
        return None
    from proxy.cluster import SharedCircuitBreakers  # noqa: PLC0415 - see that module

    return SharedCircuitBreakers(state_store)


def _cache(
    settings: Settings, blobs: BlobStore, redis: RedisClient | None, index: SharedIndex | None
) -> ResponseCache:
    """Return the cache: of this process, of all workers, or of all nodes on the same Redis."""
    if redis is None:
        return ResponseCache(
            settings.cache, blobs, index, shared_folder=index.folder if index else ""
        )
    from proxy.cluster import build_shared_cache  # noqa: PLC0415 - see that module

    return build_shared_cache(settings, blobs, redis)


def _jobs(settings: Settings) -> JobStore:
    """Return the job store."""
    return JobStore(
        RecordingBudget(settings.jobs.memory_bytes, settings.jobs.disk_bytes, BYTES_PER_JOB),
        Path(settings.state_dir).expanduser() / "jobs",
        result_ttl=settings.jobs.result_ttl_seconds,
        cancel_on_disconnect=settings.jobs.on_disconnect == "cancel",
        limit=ConcurrencyLimit(settings.limits.jobs, settings.limits.caller_jobs),
    )


def _tracer(settings: Settings) -> Tracer | None:
    """Return the tracer, if tracing is on."""
    if not settings.tracing.is_on:
        return None
    from proxy.observability.tracing.spans import Tracer  # noqa: PLC0415 - an extra, and most have no traces

    return Tracer(settings.tracing)


def _job_cluster(settings: Settings, app: web.Application) -> JobCluster | None:
    """Return what shares jobs with other processes, if there is a state store."""
    if (state_store := app[STATE_STORE]) is None:
        return None
    from proxy.cluster import build_job_cluster  # noqa: PLC0415 - see that module

    return build_job_cluster(settings, app, state_store)


def _add_routes(app: web.Application) -> None:
    """Add the routes; those of the API with and without `/v1`."""
    add = partial(app.router.add_route, expect_handler=defer_expect)
    add_get = partial(app.router.add_get, expect_handler=defer_expect)
    generate = images.image_generation()
    for path in AZURE_PATHS:
        add("POST", path, generate)
    for prefix in MODELS_PREFIXES:
        add_get(f"{prefix}/models", models.list_models)
        add_get(prefix + "/models/{model:.+}", models.get_model)
    for prefix in API_PREFIXES:
        add("POST", f"{prefix}/images/generations", generate)
        add("DELETE", f"{prefix}/cache", cache.clear_cache)
        add_get(f"{prefix}/images/jobs/{{id}}", jobs.get_job)
        add("DELETE", f"{prefix}/images/jobs/{{id}}", jobs.delete_job)
        add_get(f"{prefix}/images/models", models.list_image_models)
        add_get(prefix + "/images/models/{provider}/{model:.+}", models.describe_image_model)
    add_get(BLOB, blobs.get_blob)
    add_get("/", health.root)
    add_get("/healthz", health.healthz)
    add_get("/readyz", health.readyz)
    add_get("/metrics", metrics.metrics)
    match_unusual_paths(app.router, exact=PUBLIC_ROUTES)
    defer_expect_without_route(app.router)
