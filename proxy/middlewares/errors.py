"""Turns failures into responses in OpenAI's error format, until the response has started."""

from __future__ import annotations

import re

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.errors import ImageError
from proxy.context import ATTEMPT, COMMITTED, ERROR_CODE, METRIC_OUTCOME, TRACE_ID
from proxy.errors import GatewayError, error_body, log_code, to_client_error
from proxy.observability.metrics.labels import error_outcome

_CODES = {404: "unknown_route", 405: "method_not_allowed", 413: "request_too_large"}
"""Error codes of the requests that aiohttp itself refuses."""
_SUPPORTED = "POST /v1/images/generations"
_PLAIN_PATH = re.compile(r"(/v[0-9])?(/[a-z_]{1,24}){1,6}")
"""Paths that an error message may repeat: any other could hold a key."""


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond with the error of a failed request. Re-raise it if a response has started."""
    try:
        return await handler(request)
    except ImageError as error:
        if request.get(COMMITTED):
            raise
        return _error_response(request, error)
    except web.HTTPException as error:
        if request.get(COMMITTED):
            raise
        return _error_response(request, _from_aiohttp(request, error))
    except Exception as error:
        # The only handler of unexpected exceptions: outside of it, aiohttp would send plain text.
        if request.get(COMMITTED):
            raise
        return _error_response(request, to_client_error(error, request[TRACE_ID]))


def _error_response(request: web.Request, error: ImageError) -> web.Response:
    # The traceback refers to the request, and a stored job keeps the error.
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


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> GatewayError:
    """Return the error for a request that aiohttp refused: no such route, method or size."""
    headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    refused = GatewayError(
        _message(request, error),
        status=error.status,
        type="invalid_request_error",
        code=_CODES.get(error.status, "invalid_request"),
    )
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        headers["Connection"] = "close"  # What the client goes on sending is not read.
    refused.headers = headers
    return refused


def _message(request: web.Request, error: web.HTTPException) -> str:
    path = request.rel_url.raw_path
    operation = f"{request.method} {path if _PLAIN_PATH.fullmatch(path) else 'of this path'}"
    if isinstance(error, web.HTTPNotFound):
        return f"Not found: {operation} is not supported. Supported: {_SUPPORTED}."
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"Method not allowed: {operation}. Allowed: {error.headers['Allow']}."
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        limit = request.client_max_size
        return f"Request body too large: the limit is {limit} bytes (limits.body_bytes)."
    return f"{error.reason}."
