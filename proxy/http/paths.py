"""The paths of clients that are written for another server, or build their URLs carelessly."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from aiohttp import web
from aiohttp.web_urldispatcher import SystemRoute, UrlDispatcher

AZURE_PATHS = (
    "/openai/deployments/{deployment}/images/generations",
    "/openai/v1/images/generations",
    "/openai/images/generations",
)
"""Where the clients of Azure OpenAI send image requests; the deployment is the model."""
API_PREFIXES = ("/v1", "")
"""What the paths of the API begin with."""
MODELS_PREFIXES = (*API_PREFIXES, "/openai/v1", "/openai")
"""What the paths of the model list begin with: a client asks below the base URL of its images."""
_SEVERAL_SLASHES = re.compile("/{2,}")


def normalize(path: str) -> str:
    """Return a path without empty segments and without a slash at its end.

    >>> normalize("//v1/images/generations/")
    '/v1/images/generations'
    """
    return _SEVERAL_SLASHES.sub("/", path).rstrip("/") or "/"


def match_unusual_paths(router: UrlDispatcher, exact: Collection[str]) -> None:
    """Route `//v1/images/generations` and `/v1/images/generations/` like the plain path.

    A redirect would be no help: clients do not repeat a POST, or drop its body. The routes `exact`
    keep one spelling, because a proxy in front may hide them by it: `/metrics`, not `/metrics/`.
    """
    resolve = router.resolve

    async def resolve_normalized(request: web.Request) -> Any:
        match = await resolve(request)
        path = request.rel_url.raw_path
        if isinstance(match.route, SystemRoute) and (normal := normalize(path)) != path:
            plain = request.clone(rel_url=request.rel_url.with_path(normal, encoded=True))
            found = await resolve(plain)
            resource = found.route.resource
            if resource is None or resource.canonical not in exact:
                return found
        return match

    router.resolve = resolve_normalized  # type: ignore[method-assign]  # no public hook
