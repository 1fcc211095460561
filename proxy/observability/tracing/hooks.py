"""How the rest of the gateway annotates the current span: with tracing off, each is one `if`.

Invariant: nothing of OpenTelemetry is imported here, except behind that `if`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, cast

from aiohttp import ClientResponse
from yarl import URL

from adapters.contract import Answer
from adapters.http import ProviderRequest
from proxy.observability.bookkeeping import bookkeeping
from proxy.observability.tracing.context import CURRENT_SPAN
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Target

if TYPE_CHECKING:
    from proxy.observability.tracing.exchange import Send
    from proxy.observability.tracing.spans import Span, Value

_NO_SPAN: AbstractContextManager[object] = nullcontext()
_NO_HEADERS: Mapping[str, str] = {}


def _current() -> Span | None:
    """Return the current span, if any."""
    return cast("Span | None", CURRENT_SPAN.get())


def add_event(event: str, about: Mapping[str, Value] = _NO_HEADERS) -> None:
    """Add an event to the current span."""
    if (span := _current()) is not None:
        with bookkeeping("traces"):
            span.add_event(event, about)


def job_span(name: str) -> AbstractContextManager[object]:
    """Return a context manager for a job's span. The job may outlive its request."""
    if (span := _current()) is None or not span.is_sampled:
        return _NO_SPAN
    return span.start_job(name)


def attempt_span(attempt: Attempt) -> AbstractContextManager[object]:
    """Return a context manager for an attempt's span."""
    if (span := _current()) is None or not span.is_sampled:
        return _NO_SPAN
    from proxy.observability.tracing.attempt import AttemptSpan  # noqa: PLC0415 - see above

    return AttemptSpan(span, attempt)


def record_usage(answer: Answer, secrets: frozenset[str]) -> None:
    """Record an answer's usage and model. Text that contains one of the `secrets` is left out."""
    if (span := _current()) is not None and span.is_sampled:
        from proxy.observability.tracing.attempt import record_usage  # noqa: PLC0415 - see above

        record_usage(span, answer, secrets)


def traced_send(
    send: Send, target: Target, request: ProviderRequest, url: URL
) -> Callable[[], Awaitable[ClientResponse]]:
    """Return a function that sends the request, in a span each time if tracing is on."""
    if (span := _current()) is None:
        return lambda: send(_NO_HEADERS)
    from proxy.observability.tracing.exchange import TracedSend, trace_headers  # noqa: PLC0415 - see above

    if not span.is_sampled:
        headers = trace_headers(span, target, request)
        return lambda: send(headers)
    return TracedSend(span, send, target, request, url)
