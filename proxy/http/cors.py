"""Cross-origin requests: which web pages may call the gateway from a browser (Fetch standard).

Off unless `server.cors_origins` names origins. Cookies are never allowed: a page sends its gateway
key itself. Header names are listed one by one, because a wildcard does not cover `Authorization`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, MutableMapping

from aiohttp import web

_METHODS = "GET, POST, DELETE, OPTIONS"
_REQUEST_HEADERS = re.compile(
    r"accept|authorization|content-type|idempotency-key|prefer|api-key"
    r"|(x-portkey|x-easel|x-stainless)-[a-z0-9-]{1,60}|traceparent|tracestate|baggage|range"
    r"|if-none-match|user-agent|x-requested-with|http-referer|x-title"
    r"|[a-z]{1,20}-(organization|project|beta)|x-[a-z]{1,20}-title"
)
"""The headers that a page may send."""
_MAX_LISTED = 64
_EXPOSED = (
    "content-length, content-range, etag, location, retry-after, x-should-retry, x-request-id, "
    "x-easel-job, x-easel-receipt, x-portkey-cache-status, x-portkey-gateway-exception, "
    "x-portkey-last-used-option-index, x-portkey-provider, x-portkey-retry-attempt-count, "
    "x-portkey-trace-id"
)
"""The response headers that a page may read, besides those that every page may."""
_MAX_AGE_SECONDS = "600"


def is_preflight(request: web.Request) -> bool:
    """Return whether a browser asks, before the request of a page, if the page may send it."""
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers


def preflight_response(request: web.Request) -> web.Response:
    """Return the answer to a preflight of an allowed origin; `set_headers` adds the origin."""
    asked = request.headers.get("access-control-request-headers", "").lower().split(",")
    names = [name.strip() for name in asked[:_MAX_LISTED]]
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Max-Age": _MAX_AGE_SECONDS,
    }
    if allowed := [name for name in names if _REQUEST_HEADERS.fullmatch(name)]:
        headers["Access-Control-Allow-Headers"] = ", ".join(dict.fromkeys(allowed))
    return web.Response(status=204, headers=headers)


def is_allowed(origin: str, origins: Collection[str]) -> bool:
    """Return whether the pages of an origin may call the gateway.

    >>> is_allowed("https://a.example", ("https://a.example",)), is_allowed("null", ())
    (True, False)
    """
    return origin in origins or "*" in origins


def set_headers(
    headers: MutableMapping[str, str], origin: str | None, origins: Collection[str]
) -> None:
    """Add the headers by which a page of an allowed origin may read this response."""
    vary = headers.get("Vary", "")
    headers["Vary"] = f"{vary}, Origin" if vary else "Origin"
    if origin and is_allowed(origin, origins):
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = _EXPOSED
