"""Makes what a gateway has that is not alone: one of several workers, or of several nodes.

Imported only then: a gateway that is alone pays nothing for it.
"""

from __future__ import annotations

from aiohttp import web

from proxy.blobs.store import BLOBS, BlobStore
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
    "RedisStore",
    "SharedCircuitBreakers",
    "RedisClient",
    "build_shared_cache",
    "build_job_cluster",
]

_EXTRA_LIFETIME_SECONDS = 300.0
"""How much longer than it may take a job is known to others: it may have several targets."""


def build_shared_cache(settings: Settings, blobs: BlobStore, redis: RedisClient) -> ResponseCache:
    """Make the cache of all who share a Redis."""
    index = RedisIndex(redis, settings.cache.memory_bytes, settings.cache.disk_bytes)
    return ResponseCache(settings.cache, blobs, index, shared_folder=f"shared-{redis.prefix}")


def build_job_cluster(settings: Settings, app: web.Application, shared: StateStore) -> JobCluster:
    """Have an application's jobs shared with others."""
    jobs, total = settings.jobs, settings.timeouts.total
    seconds = total + jobs.park_seconds + _EXTRA_LIFETIME_SECONDS
    closed = bool(settings.redis.url) and settings.redis.limits == "closed"
    bounds = DirectoryLimits(settings.limits.caller_jobs, seconds, fails_closed=closed)
    board = JobDirectory(shared, app[JOBS], bounds)
    return JobCluster(board, app[JOBS], JobResults(app[BLOBS]), bounds.record_ttl)
