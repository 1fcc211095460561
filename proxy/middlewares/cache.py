"""Uses the cache for an attempt whose target has a cache policy."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.context import ATTEMPT
from proxy.http.headers import no_store
from proxy.pipeline.cached_attempt import attempt_with_cache


@web.middleware
async def cache(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond from the cache if the policy allows it.

    `x-portkey-debug: false` keeps a request out of the cache. An attempt that completes the images
    of earlier targets does not use the cache either.
    """
    attempt = request[ATTEMPT]
    policy = attempt.target.cache
    if (
        not policy
        or not policy.stores_responses
        or attempt.prior_images
        or no_store(request.headers)
    ):
        return await handler(request)
    return await attempt_with_cache(request, handler)
