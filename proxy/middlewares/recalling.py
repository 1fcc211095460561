"""A request whose whole answer the cache has in memory is answered at once, without a job."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.cache.naming import name_of
from proxy.incoming import is_untracked, prefers_async
from proxy.keys import ATTEMPT, CACHE, PLAN
from proxy.plan import Attempt, Plan, Target


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
    ready = await request.app[CACHE].recalled(name_of(plan))
    if ready is None:
        return await handler(request)
    request[ATTEMPT] = Attempt(ready.target, {}, None, cache_status="HIT", receipt=ready.receipt)
    told = {"x-easel-job": ready.job} if ready.job else None
    return web.Response(body=ready.body, content_type="application/json", headers=told)


def _is_kept(plan: Plan) -> bool:
    """Tell whether a plan has one way only, and the cache stands on it."""
    if plan.force_refresh or plan.dry_run or not isinstance(plan.root, Target):
        return False
    return plan.root.cache is not None and plan.root.cache.keeps
