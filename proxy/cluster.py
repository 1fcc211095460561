"""Builders for shared state: a gateway that is one of several workers or nodes.

Imported only in that case, so a single process does not load it.
"""

from __future__ import annotations

from aiohttp import web

from proxy.blobs.keys import BLOBS
from proxy.blobs.store import BlobStore
from proxy.cache.redis_index import RedisIndex
from proxy.cache.store import ResponseCache
from proxy.jobs.cluster import JobCluster
from proxy.jobs.directory import DirectoryLimits, JobDirectory, JobResults
from proxy.jobs.keys import JOBS
from proxy.routing.shared_circuits import SharedCircuitBreakers
from proxy.settings.loader import Settings
from proxy.state.ops import StateStore
from proxy.state.redis import RedisStore
from proxy.state.redis_client import RedisClient

__all__ = [
    "RedisClient",
    "RedisStore",
    "SharedCircuitBreakers",
    "build_job_cluster",
    "build_shared_cache",
]

_EXTRA_LIFETIME_SECONDS = 300.0
"""Lifetime of a shared job record beyond the total timeout: a job may have several targets."""


def build_shared_cache(settings: Settings, blobs: BlobStore, redis: RedisClient) -> ResponseCache:
    """Return the cache shared by all processes with one Redis."""
    index = RedisIndex(redis, settings.cache.memory_bytes, settings.cache.disk_bytes)
    return ResponseCache(settings.cache, blobs, index, shared_folder=f"shared-{redis.prefix}")


def build_job_cluster(settings: Settings, app: web.Application, shared: StateStore) -> JobCluster:
    """Return the job cluster that shares an application's jobs with other processes."""
    jobs, total = settings.jobs, settings.timeouts.total
    seconds = total + jobs.result_ttl_seconds + _EXTRA_LIFETIME_SECONDS
    closed = bool(settings.redis.url) and settings.redis.limits == "closed"
    bounds = DirectoryLimits(settings.limits.caller_jobs, seconds, fails_closed=closed)
    board = JobDirectory(shared, app[JOBS], bounds)
    return JobCluster(board, app[JOBS], JobResults(app[BLOBS]), bounds.record_ttl)
