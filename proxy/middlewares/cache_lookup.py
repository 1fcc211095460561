"""Responds from the cache's in-memory responses, before a job is started.

A request whose bytes repeat those of an earlier hit is not even routed: the same bytes always
resolve to the same plan while the settings stay the same.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.cache.hot_responses import HotResponse
from proxy.cache.keys import raw_request_digest, request_digest
from proxy.cache.store import CACHE
from proxy.context import ATTEMPT, BODY, PLAN
from proxy.http.headers import no_store, prefers_async
from proxy.observability.bookkeeping import bookkeeping
from proxy.observability.tracing.attributes import CACHE_HIT
from proxy.observability.tracing.hooks import add_event
from proxy.pipeline.accounting import record_images
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.plan import Plan, Target

_MAX_REMEMBERED = 4096
"""Requests remembered by their bytes. When the table is full, it is cleared."""


@web.middleware
async def cache_lookup(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond from memory. Requests that may refer to an earlier job are passed on."""
    plan, headers, root = request[PLAN], request.headers, request[PLAN].root
    if (
        not isinstance(root, Target)
        or not _uses_cache(plan, root)
        or "idempotency-key" in headers
        or prefers_async(headers)
        or no_store(headers)
    ):
        return await handler(request)
    cache, plan_digest = request.app[CACHE], request_digest(plan)
    hot = await cache.find_hot(plan_digest)
    if hot is None or hot.target.cache != root.cache:
        return await handler(request)
    raw_digest = _raw_digest(request, request[BODY])
    _remember(request[SNAPSHOT].response_digests, raw_digest, plan_digest)
    return _response(request, hot)


async def lookup_by_bytes(request: web.Request, body: bytes) -> web.Response | None:
    """Return the cached response to a request with exactly these bytes, if there is one."""
    # The table belongs to the settings snapshot: other settings may resolve to another plan.
    remembered = request[SNAPSHOT].response_digests
    if not remembered:
        return None
    plan_digest = remembered.get(_raw_digest(request, body))
    hot = await request.app[CACHE].find_hot(plan_digest) if plan_digest else None
    return _response(request, hot) if hot else None


def _remember(remembered: dict[bytes, bytes], raw_digest: bytes, plan_digest: bytes) -> None:
    """Remember to which plan a request with these bytes resolves."""
    if len(remembered) >= _MAX_REMEMBERED:
        remembered.clear()
    remembered[raw_digest] = plan_digest


def _raw_digest(request: web.Request, body: bytes) -> bytes:
    return raw_request_digest(request.path, request.raw_headers, body)


def _response(request: web.Request, hot: HotResponse) -> web.Response:
    request[ATTEMPT] = attempt = hot.attempt
    with bookkeeping("prices"):
        record_images(request, attempt, attempt.params)
    add_event(CACHE_HIT)
    return web.Response(body=hot.body, headers=hot.headers)


def _uses_cache(plan: Plan, root: Target) -> bool:
    """Whether the plan's only target uses the cache."""
    if plan.force_refresh or plan.dry_run:
        return False
    return root.cache is not None and root.cache.stores_responses
