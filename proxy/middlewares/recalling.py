"""A request whose whole answer the cache has in memory is answered at once, without a job.

Where its very bytes were answered so before, it need not even be routed: what is made of them is
always the same.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.cache.naming import name_of, words_of
from proxy.cache.ready import Ready
from proxy.images.drawn import count_drawn
from proxy.incoming import is_untracked, prefers_async
from proxy.keys import ATTEMPT, CACHE, PLAN, RAW
from proxy.plan import Plan, Target


@web.middleware
async def recalling(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with what is ready; whoever may mean a certain job is passed on to it."""
    plan, headers = request[PLAN], request.headers
    if (
        not _is_kept(plan)
        or "idempotency-key" in headers
        or prefers_async(headers)
        or is_untracked(headers)
    ):
        return await handler(request)
    cache, name = request.app[CACHE], name_of(plan)
    ready = await cache.recalled(name)
    if ready is None:
        return await handler(request)
    cache.ready.note(_words(request, request[RAW]), name)
    return _response(request, ready)


async def repeated(request: web.Request, raw: bytes) -> web.Response | None:
    """Answer a request that repeats one, if the answer to that is still good."""
    cache = request.app[CACHE]
    if not cache.ready.repeats:
        return None
    name = cache.ready.repeats.get(_words(request, raw))
    ready = await cache.recalled(name) if name else None
    return _response(request, ready) if ready else None


def _words(request: web.Request, raw: bytes) -> bytes:
    return words_of(request.path, request.raw_headers, raw)


def _response(request: web.Request, ready: Ready) -> web.Response:
    request[ATTEMPT] = attempt = ready.attempt
    count_drawn(request.app, attempt, attempt.params)
    return web.Response(body=ready.body, headers=ready.headers)


def _is_kept(plan: Plan) -> bool:
    """Tell whether a plan has one way only, and the cache stands on it."""
    if plan.force_refresh or plan.dry_run or not isinstance(plan.root, Target):
        return False
    return plan.root.cache is not None and plan.root.cache.keeps
