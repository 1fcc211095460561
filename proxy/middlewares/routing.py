"""Reads the request body, and resolves headers, config and model into the plan."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.context import BODY, BODY_MEMORY, BODY_RESERVATION, CALLER, PLAN
from proxy.errors import BadRequest
from proxy.http.body import read_body, read_params
from proxy.http.headers import is_valid_trace_id
from proxy.middlewares.cache_lookup import lookup_by_bytes
from proxy.reload.snapshot import SNAPSHOT


@web.middleware
async def routing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the plan, or respond from the cache if the request repeats an earlier one exactly."""
    body, reservation = await read_body(request, request.app[BODY_MEMORY])
    if reservation:
        request[BODY_RESERVATION] = reservation
        # An idle connection keeps its last request, and with it the reservation, alive. aiohttp has
        # no public way to close the connection after this request.
        message = request._message  # noqa: SLF001 - see above
        request._message = message._replace(should_close=True)  # noqa: SLF001 - see above
    if (response := await lookup_by_bytes(request, body)) is not None:
        return response
    body, params = read_params(body)
    trace_id = request.headers.get("x-portkey-trace-id", "")
    if trace_id and not is_valid_trace_id(trace_id):
        raise BadRequest(
            "x-portkey-trace-id must be printable ASCII, at most 512 characters.",
            code="invalid_header",
            param="x-portkey-trace-id",
        )
    request[BODY] = body
    resolver = request[SNAPSHOT].resolver
    request[PLAN] = resolver.resolve(request.headers, request[CALLER], params, request.path)
    return await handler(request)
