"""Simple cache: answers what is kept, and keeps what the rest of the chain answers."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.cache.simple import Kept, keepable, key_of
from proxy.keys import ATTEMPT, CACHE, CALLER, PLAN, SETTINGS
from proxy.plan import Recording


@web.middleware
async def caching(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Look up, where the config asks for it.

    Events are not kept, and neither is what `x-portkey-debug: false` keeps from being tracked.
    """
    attempt, plan = request[ATTEMPT], request[PLAN]
    untracked = request.headers.get("x-portkey-debug", "").lower() == "false"
    asked_for_a_part = bool(attempt.made)
    streamed = bool(attempt.params.get("stream"))
    if attempt.target.cache is None or streamed or untracked or asked_for_a_part:
        return await handler(request)
    cache = request.app[CACHE]
    # Both spellings of the route are the same endpoint.
    path = request.path.removeprefix("/v1")
    key = key_of(request[CALLER].name, plan, attempt.target, attempt.params, path)
    attempt.cache_status = "REFRESH" if plan.force_refresh else "MISS"
    if not plan.force_refresh and (kept := cache.get(key)):
        attempt.cache_status = "HIT"
        return _again(kept)
    recording = Recording(request.app[SETTINGS].cache.answer_bytes)
    attempt.recording = recording
    response = await handler(request)
    receipt = str(attempt.receipt)
    if kept := keepable(recording, attempt.target, receipt, attempt.urls_good_for):
        cache.put(key, kept)
    return response


def _again(kept: Kept) -> web.Response:
    """Answer with what was kept, and the receipt that belonged to it."""
    headers = {"x-easel-receipt": kept.receipt} if kept.receipt else None
    return web.Response(body=kept.body, content_type=kept.content_type, headers=headers)
