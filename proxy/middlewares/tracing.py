"""The span of a request, from the moment its caller is known; in the chain only with traces on.

A stranger without a key makes no span, and neither do the endpoints that need none.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from adapters.errors import ImageError
from proxy.context import ATTEMPT, CALLER, COMMITTED, ERROR_CODE, JOIN_STATUS, PLAN, TRACE_ID
from proxy.http.headers import usable_trace
from proxy.http.status import INTERNAL_SERVER_ERROR
from proxy.jobs.keys import JOB
from proxy.middlewares.access import config_label
from proxy.observability.tracing import attributes
from proxy.observability.tracing.attempt import request_attributes, result_attributes, span_name
from proxy.observability.tracing.spans import ServerSpan, Tracer, Value

_GENERATIONS = "/images/generations"


def make_tracing(tracer: Tracer) -> Middleware:
    """Return the middleware that makes a span of each request by `tracer`."""

    @web.middleware
    async def tracing(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _run_in_span(tracer, request, handler)

    return tracing


async def _run_in_span(
    tracer: Tracer, request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Run a request in a span; without a trace id of its own, it gets the trace's."""
    resource = request.match_info.route.resource
    if resource is None or CALLER not in request:
        return await handler(request)
    about: dict[str, Value] = {
        attributes.METHOD: request.method,
        attributes.ROUTE: resource.canonical,
        attributes.CALLER: request[CALLER].name,
    }
    name = f"{request.method} {resource.canonical}"
    with tracer.start_server_span(name, request.headers, about) as span:
        if not usable_trace(request.headers.get("x-portkey-trace-id", "")):
            request[TRACE_ID] = span.trace_id
        try:
            response = await handler(request)
            span.status = response.status
        except BaseException as error:
            span.status = 0 if request.get(COMMITTED) else _status_of(error)
            raise
        finally:
            if span.is_sampled:
                _set_attributes(span, request, resource.canonical)
        return response


def _status_of(error: BaseException) -> int:
    """Give the status by which a failure is going to be answered; 0: by none."""
    if isinstance(error, ImageError | web.HTTPException):
        return error.status
    return INTERNAL_SERVER_ERROR if isinstance(error, Exception) else 0


def _set_attributes(span: ServerSpan, request: web.Request, route: str) -> None:
    """Say of a request all that is known at its end."""
    about: dict[str, Value] = {attributes.TRACE: request[TRACE_ID]}
    if span.status:
        about[attributes.STATUS] = span.status
    if route.endswith(_GENERATIONS):
        about |= _image_attributes(request)
        span.otel.update_name(span_name(about))
    joined = request.get(JOIN_STATUS, "")
    if joined:
        about[attributes.JOINED] = joined
    if job := request.get(JOB):
        about[attributes.JOB] = job.id
        if joined or not route.endswith(_GENERATIONS):
            span.link_to_job(job.id)
    span.set_attributes(about)
    if why := request.get(ERROR_CODE):
        span.set_error(why)


def _image_attributes(request: web.Request) -> dict[str, Value]:
    """Say what was asked for, and what became of it at the last target."""
    plan, attempt = request.get(PLAN), request.get(ATTEMPT)
    params = plan.params if plan else attempt.params if attempt else {}
    about = request_attributes(attempt.target if attempt else None, params)
    if attempt:
        about |= result_attributes(attempt)
    if config := config_label(plan):
        about[attributes.CONFIG] = config
    return about
