"""Reads the request, and resolves headers, config and model into the plan."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.context import BODY, BODY_MEMORY, BODY_RESERVATION, CALLER, PLAN
from proxy.errors import BadRequest
from proxy.http.body import read_body, read_params
from proxy.http.headers import usable_trace
from proxy.middlewares.cache_lookup import lookup_by_bytes
from proxy.reload.snapshot import SNAPSHOT


@web.middleware
async def routing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Leave the plan of this request, unless it repeats one and is answered as that was."""
    raw, held = await read_body(request, request.app[BODY_MEMORY])
    if held:
        request[BODY_RESERVATION] = held
        # A connection holds on to its last request for as long as it idles; aiohttp has no public
        # way to end it with this one.
        message = request._message  # noqa: SLF001 - see above
        request._message = message._replace(should_close=True)  # noqa: SLF001 - see above
    if (response := await lookup_by_bytes(request, raw)) is not None:
        return response
    raw, params = read_params(raw)
    trace = request.headers.get("x-portkey-trace-id", "")
    if trace and not usable_trace(trace):
        raise BadRequest(
            "x-portkey-trace-id must be printable ASCII, at most 512 characters.",
            code="invalid_header",
            param="x-portkey-trace-id",
        )
    request[BODY] = raw
    resolver = request[SNAPSHOT].resolver
    request[PLAN] = resolver.resolve(request.headers, request[CALLER], params, request.path)
    return await handler(request)
