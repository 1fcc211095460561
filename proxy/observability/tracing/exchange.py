"""The spans of one request to a provider: one for each time that it goes out."""

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
"""Sends a request once, with further headers."""

_SAFE_SEGMENT = re.compile(r"v?[0-9][0-9.]{0,7}|[A-Za-z][A-Za-z0-9._~:@-]{0,63}")
"""A step of a path that may be a name."""
_ID_LIKE = re.compile(
    r"[0-9]{6}|[0-9a-fA-F]{12}|[0-9a-fA-F]{8}-|(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{24}"
)
"""What in it is none."""
_NO_HEADERS: Mapping[str, str] = {}


class TracedSend:
    """Sends a request, each time in a span that ends once the head of the answer is there."""

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
        if place := url_template(request.path, target.secrets):
            self._attributes[attributes.TEMPLATE] = place
        self._name = f"{request.method} {place or _request_kind(request)}".rstrip()
        self._send_count = 0
        self._last_result = ""

    async def __call__(self) -> ClientResponse:
        """Send it once more."""
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
    """Give the headers of the trace for a request: they go where the credential goes, only there.

    What a caller has forwarded by its own choice comes before them.
    """
    if not request.authenticated:
        return _NO_HEADERS
    return {name: it for name, it in span.headers.items() if name not in target.forwarded_headers}


def _request_kind(request: ProviderRequest) -> str:
    """Say what an address is for that a provider, or its token endpoint, has as a whole."""
    if request.authenticated:
        return ""
    return "picture" if request.method == "GET" else "token"


def url_template(path: str, secrets: frozenset[str]) -> str:
    """Give a path without its query, and without what looks like an id.

    >>> template_of("/tasks/0f8fad5b-d9cb-469f-a165-70867728950e/result?key=1", frozenset())
    '/tasks/{id}/result'
    >>> template_of("/models/flux-2-pro:run", frozenset())
    '/models/flux-2-pro:run'
    """
    steps = path.partition("?")[0].partition("#")[0].split("/")
    return "/".join(step if _is_safe_segment(step, secrets) else "{id}" for step in steps)


def _is_safe_segment(step: str, secrets: frozenset[str]) -> bool:
    if not step:
        return True
    is_name = _SAFE_SEGMENT.fullmatch(step) and not _ID_LIKE.search(step)
    return bool(is_name) and not any(secret in step for secret in secrets)
