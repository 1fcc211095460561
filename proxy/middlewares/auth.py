"""Authentication by gateway API key, and the checks of the Host and Expect headers.

The key is sent in `x-portkey-api-key`, as `Authorization: Bearer`, as the password of
`Authorization: Basic`, or in `api-key`, as Azure's clients do.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.blobs.urls import BLOB_ROUTE as BLOB
from proxy.context import CALLER
from proxy.errors import Unauthorized
from proxy.http.cors import is_allowed, is_preflight, preflight_response
from proxy.http.expect import check_expectation, send_continue
from proxy.http.headers import basic_password, bearer
from proxy.http.proxy_headers import is_unix_socket, requested_host
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.plan import Caller
from proxy.settings.loader import key_digest
from proxy.upstream.name_lookup import LOOKUP_CALLER

PUBLIC_ROUTES = frozenset({"/", "/healthz", "/readyz", "/metrics", BLOB})
"""Routes without authentication here: a blob's URL is signed, and /metrics checks the key itself.

The resource that the router matched decides, never the text of the URL.
"""
_NO_KEY = (
    "No gateway API key in this request. Send it in the x-portkey-api-key header, or as "
    "'Authorization: Bearer <key>'."
)
_FROM_OTHERS = "{} header; x-portkey-api-key was not sent"


@web.middleware
async def auth(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check the Host and Expect headers, and the gateway key unless the route is public."""
    snapshot, headers = request[SNAPSHOT], request.headers
    host = requested_host(request, snapshot.settings.server.trusted_proxies)
    snapshot.allowed_hosts.check(host, over_unix=is_unix_socket(request))
    is_expecting = "expect" in headers
    if is_expecting:
        check_expectation(request)
    origins = snapshot.settings.server.cors_origins
    if origins and is_preflight(request) and is_allowed(headers.get("origin", ""), origins):
        return preflight_response(request)
    resource = request.match_info.route.resource
    if resource is not None and resource.canonical not in PUBLIC_ROUTES:
        caller = request[CALLER] = authenticate(headers, snapshot.settings.api_keys)
        LOOKUP_CALLER.set(caller.name)
    if 0 < request.client_max_size < (request.content_length or 0):
        raise web.HTTPRequestEntityTooLarge(request.client_max_size)
    if is_expecting:
        await send_continue(request)
    return await handler(request)


def authenticate(headers: Mapping[str, str], api_keys: Mapping[bytes, str]) -> Caller:
    """Return the caller whose gateway key the headers hold; raises `Unauthorized`.

    `api_keys` maps the digest of a key to its name. If `x-portkey-api-key` is sent, it alone
    decides, and `Authorization` is the provider's credential. A gateway key in `Authorization` is
    never forwarded.
    """
    token = bearer(headers)
    key, source = headers.get("x-portkey-api-key", ""), "x-portkey-api-key header"
    if not key:
        key, source = token or basic_password(headers), _FROM_OTHERS.format("Authorization")
    if not key:
        key, source = headers.get("api-key", ""), _FROM_OTHERS.format("api-key")
    if not key:
        raise Unauthorized(_NO_KEY)
    name = _key_name(key_digest(key), api_keys)
    if name is None:
        raise Unauthorized(f"Invalid gateway API key (taken from the {source}).")
    in_authorization = bool(token) and _key_name(key_digest(token), api_keys) is not None
    return Caller(name, key_in_authorization=in_authorization)


def _key_name(key_digest: bytes, api_keys: Mapping[bytes, str]) -> str | None:
    """Return the name of the key with this digest; the comparison takes constant time."""
    name = api_keys.get(key_digest)
    expected = key_digest if name is not None else bytes(len(key_digest))
    return name if hmac.compare_digest(expected, key_digest) else None
