"""Failures become answers in the OpenAI error shape, while the first byte has not gone."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.errors import ImageError
from proxy.context import ATTEMPT, COMMITTED, ERROR_CODE, METRIC_OUTCOME, TRACE_ID
from proxy.errors import GatewayError, error_body, log_code, to_client_error
from proxy.observability.metrics.labels import error_outcome

# What aiohttp itself refuses: status -> (code, what to do).
_MESSAGES: dict[int, tuple[str, str]] = {
    404: ("unknown_route", "There is nothing here. Pictures are made at /v1/images/generations."),
    405: ("method_not_allowed", "This method is not allowed here."),
    413: ("request_too_large", "The body is larger than this gateway accepts."),
}


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with what went wrong; an answer that has begun is left to whoever began it."""
    try:
        return await handler(request)
    except ImageError as error:
        if request.get(COMMITTED):
            raise
        return _error_response(request, error)
    except web.HTTPException as error:
        if request.get(COMMITTED):
            raise
        return _error_response(request, _from_aiohttp(error))
    except Exception as error:
        # The one place where anything at all is caught: nobody further out would explain it.
        if request.get(COMMITTED):
            raise
        return _error_response(request, to_client_error(error, request[TRACE_ID]))


def _error_response(request: web.Request, error: ImageError) -> web.Response:
    # Its frames hold the request, and a parked job holds the error.
    error.__traceback__ = None
    request[ERROR_CODE] = log_code(error)
    request[METRIC_OUTCOME] = error_outcome(error)
    headers = dict(error.headers)
    if isinstance(error, GatewayError) and ATTEMPT in request:
        headers["x-portkey-gateway-exception"] = "true"
    response = web.Response(
        status=error.status,
        body=error_body(error),
        content_type="application/json",
        headers=headers,
    )
    if headers.get("Connection") == "close":
        response.force_close()
    return response


def _from_aiohttp(error: web.HTTPException) -> GatewayError:
    code, message = _MESSAGES.get(error.status, ("invalid_request", error.reason))
    headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    if "Allow" in headers:
        message += f" Allowed: {headers['Allow']}."
    refused = GatewayError(message, status=error.status, type="invalid_request_error", code=code)
    refused.headers = headers
    return refused
