"""DELETE /v1/cache: delete the caller's cached responses."""

from __future__ import annotations

import orjson
from aiohttp import web

from proxy.cache.store import CACHE
from proxy.context import CALLER


async def clear_cache(request: web.Request) -> web.Response:
    """Delete the caller's cached responses; with `?namespace=`, only those of that namespace."""
    namespace = request.query.get("namespace")
    count = await request.app[CACHE].purge(request[CALLER].name, namespace)
    return web.Response(body=orjson.dumps({"deleted": count}), content_type="application/json")
