"""The server span of a request, started once its caller is known. In the chain if tracing is on.

Unauthenticated requests and public endpoints make no spans.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from adapters.errors import ImageError
from proxy.context import ATTEMPT, CALLER, COMMITTED, ERROR_CODE, JOIN_STATUS, PLAN, TRACE_ID
from proxy.http.headers import is_valid_trace_id
from proxy.http.status import INTERNAL_SERVER_ERROR
from proxy.jobs.keys import JOB
from proxy.middlewares.access import config_label
from proxy.observability.bookkeeping import bookkeeping
from proxy.observability.tracing import attributes
from proxy.observability.tracing.attempt import request_attributes, result_attributes, span_name
from proxy.observability.tracing.spans import ServerSpan, Tracer, Value

_GENERATIONS = "/images/generations"


def make_tracing(tracer: Tracer) -> Middleware:
    """Return the middleware that runs each request in a span of `tracer`."""

    @web.middleware
    async def tracing(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _run_in_span(tracer, request, handler)

    return tracing


async def _run_in_span(
    tracer: Tracer, request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Run a request in a span. The span's trace id is used if the client sent none."""
    resource = request.match_info.route.resource
    if resource is None or CALLER not in request:
        return await handler(request)
    values: dict[str, Value] = {
        attributes.METHOD: request.method,
        attributes.ROUTE: resource.canonical,
        attributes.CALLER: request[CALLER].name,
    }
    name = f"{request.method} {resource.canonical}"
    with tracer.start_server_span(name, request.headers, values) as span:
        if not is_valid_trace_id(request.headers.get("x-portkey-trace-id", "")):
            request[TRACE_ID] = span.trace_id
        try:
            response = await handler(request)
            span.status = response.status
        except BaseException as error:
            span.status = 0 if request.get(COMMITTED) else _status_of(error)
            raise
        finally:
            with bookkeeping("traces"):
                if span.is_sampled:
                    _set_attributes(span, request, resource.canonical)
        return response


def _status_of(error: BaseException) -> int:
    """Return the status that the error response will have; 0 if there will be none."""
    if isinstance(error, ImageError | web.HTTPException):
        return error.status
    return INTERNAL_SERVER_ERROR if isinstance(error, Exception) else 0


def _set_attributes(span: ServerSpan, request: web.Request, route: str) -> None:
    """Set the span's attributes at the end of the request."""
    values: dict[str, Value] = {attributes.TRACE: request[TRACE_ID]}
    if span.status:
        values[attributes.STATUS] = span.status
    if route.endswith(_GENERATIONS):
        values |= _image_attributes(request)
        span.otel.update_name(span_name(values))
    joined = request.get(JOIN_STATUS, "")
    if joined:
        values[attributes.JOINED] = joined
    if job := request.get(JOB):
        values[attributes.JOB] = job.id
        if joined or not route.endswith(_GENERATIONS):
            span.link_to_job(job.id)
    span.set_attributes(values)
    if code := request.get(ERROR_CODE):
        span.set_error(code)


def _image_attributes(request: web.Request) -> dict[str, Value]:
    """Return the attributes of an image request, and of the attempt at the last target."""
    plan, attempt = request.get(PLAN), request.get(ATTEMPT)
    params = plan.params if plan else attempt.params if attempt else {}
    values = request_attributes(attempt.target if attempt else None, params)
    if attempt:
        values |= result_attributes(attempt)
    if config := config_label(plan):
        values[attributes.CONFIG] = config
    return values
