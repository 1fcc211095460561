"""Who calls, and whom: a gateway key in `x-portkey-api-key`, or as `Authorization: Bearer`."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.blobs.urls import PATH as BLOB
from proxy.context import CALLER
from proxy.errors import Unauthorized
from proxy.http.headers import bearer
from proxy.http.proxy_headers import comes_by_unix, host_of
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.plan import Caller
from proxy.settings.loader import digest

PUBLIC_ROUTES = frozenset({"/", "/healthz", "/readyz", "/metrics", BLOB})
"""Resources that need no key: a blob's URL is one, and /metrics asks for one itself.

The routed resource decides, never the URL as it was written.
"""


@web.middleware
async def auth(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request pass if it was meant for us, and needs no key or has a good one."""
    current, headers = request[SNAPSHOT], request.headers
    host = host_of(request, current.settings.server.trusted_proxies)
    current.allowed_hosts.check(host, by_unix=comes_by_unix(request))
    resource = request.match_info.route.resource
    if resource is not None and resource.canonical not in PUBLIC_ROUTES:
        request[CALLER] = authenticate(headers, current.settings.api_keys)
    return await handler(request)


def authenticate(headers: Mapping[str, str], api_keys: Mapping[bytes, str]) -> Caller:
    """Tell who calls; raises `Unauthorized`.

    `Authorization` lets nobody in where `x-portkey-api-key` is there as well: then it belongs to
    the provider, unless it holds a gateway key, which never leaves.
    """
    token = bearer(headers)
    key = headers.get("x-portkey-api-key", "") or token
    if not key:
        raise Unauthorized("Send your gateway key in the header x-portkey-api-key.")
    name = _key_name(digest(key), api_keys)
    if name is None:
        raise Unauthorized("The gateway key in this request is not known here. Check its spelling.")
    by_bearer = bool(token) and _key_name(digest(token), api_keys) is not None
    return Caller(name, key_in_authorization=by_bearer)


def _key_name(asked: bytes, api_keys: Mapping[bytes, str]) -> str | None:
    """Find a key by its digest; the comparison itself takes the same time for any input."""
    name = api_keys.get(asked)
    known = asked if name is not None else bytes(len(asked))
    return name if hmac.compare_digest(known, asked) else None
