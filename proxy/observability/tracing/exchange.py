"""HTTP client spans: one for each time that a request is sent to a provider."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import ClientResponse
from opentelemetry.trace import SpanKind
from yarl import URL

from adapters.http import ProviderRequest
from proxy.http.status import is_error
from proxy.observability.tracing import attributes
from proxy.observability.tracing.spans import Span, Value, error_type
from proxy.routing.plan import Target

Send = Callable[[Mapping[str, str]], Awaitable[ClientResponse]]
"""Sends a request once, with additional headers."""

_SAFE_SEGMENT = re.compile(r"v?[0-9][0-9.]{0,7}|[A-Za-z][A-Za-z0-9._~:@-]{0,63}")
"""A path segment that may be a name."""
_ID_LIKE = re.compile(
    r"[0-9]{6}|[0-9a-fA-F]{12}|[0-9a-fA-F]{8}-|(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{24}"
)
"""The parts of a segment that look like an id."""
_NO_HEADERS: Mapping[str, str] = {}


class TracedSend:
    """Sends a request, each time in a span that ends when the response's headers arrive."""

    def __init__(
        self, parent: Span, send: Send, target: Target, request: ProviderRequest, url: URL
    ) -> None:
        self._parent = parent
        self._send = send
        self._target = target
        self._request = request
        self._attributes: dict[str, Value] = {
            attributes.METHOD: request.method,
            attributes.HOST: url.host or "",
        }
        if url.port:
            self._attributes[attributes.PORT] = url.port
        if template := url_template(request.path, target.secrets):
            self._attributes[attributes.TEMPLATE] = template
        self._name = f"{request.method} {template or _request_kind(request)}".rstrip()
        self._send_count = 0
        self._last_result = ""

    async def __call__(self) -> ClientResponse:
        """Send the request (again)."""
        about = dict(self._attributes)
        if self._send_count:
            about |= {
                attributes.RESEND_COUNT: self._send_count,
                attributes.REASON: self._last_result,
            }
        self._send_count += 1
        span = self._parent.start_child(self._name, about, SpanKind.CLIENT)
        try:
            response = await self._send(trace_headers(span, self._target, self._request))
        except BaseException as error:
            self._last_result = error_type(error)
            span.set_error(self._last_result)
            raise
        else:
            self._record_status(span, response.status)
            return response
        finally:
            span.otel.end()

    def _record_status(self, span: Span, status: int) -> None:
        span.set_attributes({attributes.STATUS: status})
        self._last_result = str(status)
        if is_error(status):
            span.set_error(self._last_result)


def trace_headers(span: Span, target: Target, request: ProviderRequest) -> Mapping[str, str]:
    """Return the trace headers for a request. They go only where the credential goes.

    Headers that the caller asked to forward override them.
    """
    if not request.authenticated:
        return _NO_HEADERS
    return {name: it for name, it in span.headers.items() if name not in target.forwarded_headers}


def _request_kind(request: ProviderRequest) -> str:
    """Return what an unsigned request fetches, to name its span: an image or a token."""
    if request.authenticated:
        return ""
    return "image" if request.method == "GET" else "token"


def url_template(path: str, secrets: frozenset[str]) -> str:
    """Return a path without its query, and with `{id}` for segments that look like an id.

    >>> url_template("/tasks/0f8fad5b-d9cb-469f-a165-70867728950e/result?key=1", frozenset())
    '/tasks/{id}/result'
    >>> url_template("/models/flux-2-pro:run", frozenset())
    '/models/flux-2-pro:run'
    """
    segments = path.partition("?")[0].partition("#")[0].split("/")
    return "/".join(it if _is_safe_segment(it, secrets) else "{id}" for it in segments)


def _is_safe_segment(segment: str, secrets: frozenset[str]) -> bool:
    if not segment:
        return True
    is_name = _SAFE_SEGMENT.fullmatch(segment) and not _ID_LIKE.search(segment)
    return bool(is_name) and not any(secret in segment for secret in secrets)
