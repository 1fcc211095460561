"""The paths of clients that are written for another server, or build their URLs carelessly."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from aiohttp.web_urldispatcher import SystemRoute, UrlDispatcher

AZURE_PATHS = (
    "/openai/deployments/{deployment}/images/generations",
    "/openai/v1/images/generations",
    "/openai/images/generations",
)
"""Where the clients of Azure OpenAI send image requests; the deployment is the model."""
_SEVERAL_SLASHES = re.compile("/{2,}")


def normalize(path: str) -> str:
    """Return a path without empty segments and without a slash at its end.

    >>> normalize("//v1/images/generations/")
    '/v1/images/generations'
    """
    return _SEVERAL_SLASHES.sub("/", path).rstrip("/") or "/"


def match_unusual_paths(router: UrlDispatcher) -> None:
    """Route `//v1/images/generations` and `/v1/images/generations/` like the plain path.

    A redirect would be no help: clients do not repeat a POST, or drop its body.
    """
    resolve = router.resolve

    async def resolve_normalized(request: web.Request) -> Any:
        match = await resolve(request)
        path = request.rel_url.raw_path
        if isinstance(match.route, SystemRoute) and (normal := normalize(path)) != path:
            return await resolve(
                request.clone(rel_url=request.rel_url.with_path(normal, encoded=True))
            )
        return match

    router.resolve = resolve_normalized  # type: ignore[method-assign]  # no public hook
