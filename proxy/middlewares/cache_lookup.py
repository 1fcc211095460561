"""A request whose whole answer the cache has in memory is answered at once, without a job.

Where its very bytes were answered so before, it need not even be routed: what is made of them is
always the same.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.cache.hot_responses import Ready
from proxy.cache.keys import name_of, words_of
from proxy.cache.store import CACHE
from proxy.context import ATTEMPT, BODY, PLAN
from proxy.http.headers import is_untracked, prefers_async
from proxy.observability.tracing.attributes import CACHE_HIT
from proxy.observability.tracing.hooks import add_event
from proxy.pipeline.accounting import record_images
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.plan import Plan, Target

_MAX_REMEMBERED = 4096
"""How many requests are known again by their bytes; then all are forgotten."""


@web.middleware
async def cache_lookup(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with what is ready; whoever may mean a certain job is passed on to it."""
    plan, headers, root = request[PLAN], request.headers, request[PLAN].root
    if (
        not isinstance(root, Target)
        or not _uses_cache(plan, root)
        or "idempotency-key" in headers
        or prefers_async(headers)
        or is_untracked(headers)
    ):
        return await handler(request)
    cache, name = request.app[CACHE], name_of(plan)
    ready = await cache.recalled(name)
    if ready is None or ready.target.cache != root.cache:
        return await handler(request)
    _remember(request[SNAPSHOT].response_digests, _raw_digest(request, request[BODY]), name)
    return _response(request, ready)


async def lookup_by_bytes(request: web.Request, raw: bytes) -> web.Response | None:
    """Answer a request that repeats one, if the answer to that is still good."""
    # Those of other settings are not known: what they led to may not be there any more.
    repeats = request[SNAPSHOT].response_digests
    if not repeats:
        return None
    name = repeats.get(_raw_digest(request, raw))
    ready = await request.app[CACHE].recalled(name) if name else None
    return _response(request, ready) if ready else None


def _remember(repeats: dict[bytes, bytes], words: bytes, name: bytes) -> None:
    """Know a request again by its bytes."""
    if len(repeats) >= _MAX_REMEMBERED:
        repeats.clear()
    repeats[words] = name


def _raw_digest(request: web.Request, raw: bytes) -> bytes:
    return words_of(request.path, request.raw_headers, raw)


def _response(request: web.Request, ready: Ready) -> web.Response:
    request[ATTEMPT] = attempt = ready.attempt
    record_images(request, attempt, attempt.params)
    add_event(CACHE_HIT)
    return web.Response(body=ready.body, headers=ready.headers)


def _uses_cache(plan: Plan, root: Target) -> bool:
    """Tell whether the cache stands on a plan's one way."""
    if plan.force_refresh or plan.dry_run:
        return False
    return root.cache is not None and root.cache.keeps
