"""Reads the request body, and resolves headers, config and model into the plan."""

from __future__ import annotations

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.context import BODY, BODY_MEMORY, BODY_RESERVATION, CALLER, PLAN
from proxy.errors import BadRequest
from proxy.http.body import parse_params, read_body
from proxy.http.body_limits import BodyReservation
from proxy.http.headers import check_easel_headers, is_valid_trace_id, json_headers
from proxy.middlewares.cache_lookup import lookup_by_bytes
from proxy.reload.snapshot import SNAPSHOT


@web.middleware
async def routing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the plan, or respond from the cache if the request repeats an earlier one exactly."""
    memory = request.app[BODY_MEMORY]
    body, reservation = await read_body(request, memory)
    if reservation:
        _close_afterwards(request)
    if (response := await lookup_by_bytes(request, body)) is not None:
        return response
    # A job keeps it until it ends; an idle connection, which keeps its last request, does not.
    request[BODY_RESERVATION] = reservation = reservation or BodyReservation(memory)
    try:
        await _resolve_plan(request, body, reservation)
        del body
        return await handler(request)
    finally:
        del request[BODY_RESERVATION]


async def _resolve_plan(request: web.Request, raw: bytes, reservation: BodyReservation) -> None:
    """Set the request's body and plan."""
    snapshot, headers = request[SNAPSHOT], request.headers
    limits = snapshot.settings.limits
    check_easel_headers(headers)
    body, params = await parse_params(raw, json_headers(headers), reservation, limits)
    if deployment := request.match_info.get("deployment"):
        params["model"] = deployment
        body = orjson.dumps(params)
    if reservation.is_large:
        _close_afterwards(request)
    trace_id = request.headers.get("x-portkey-trace-id", "")
    if trace_id and not is_valid_trace_id(trace_id):
        raise BadRequest(
            "x-portkey-trace-id must be printable ASCII, at most 512 characters.",
            code="invalid_header",
            param="x-portkey-trace-id",
        )
    request[BODY] = body
    request[PLAN] = snapshot.resolver.resolve(headers, request[CALLER], params, request.path)


def _close_afterwards(request: web.Request) -> None:
    """Close the connection after this request: an idle one keeps its last request alive."""
    # aiohttp has no public way to do so.
    message = request._message  # noqa: SLF001 - see above
    request._message = message._replace(should_close=True)  # noqa: SLF001 - see above
