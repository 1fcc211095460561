"""The tracer and its spans."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Token
from typing import Self

from cachetools import LRUCache
from opentelemetry.context import Context
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace import Tracer as OtelTracer

from adapters.errors import ImageError
from proxy import __version__
from proxy.errors import log_code
from proxy.http.status import is_client_error
from proxy.observability.bookkeeping import bookkeeping
from proxy.observability.tracing import attributes
from proxy.observability.tracing.context import CURRENT_SPAN
from proxy.observability.tracing.export import SpanExport
from proxy.observability.tracing.propagation import (
    Headers,
    extract_baggage,
    extract_parent,
    propagation_headers,
)
from proxy.settings.schema import Tracing

Value = str | int

_MAX_JOBS = 16_384
"""Number of jobs whose spans are remembered, so that later requests can link to them."""


class Tracer:
    """Creates the spans of a process, while entered."""

    def __init__(self, settings: Tracing) -> None:
        self.propagate = settings.propagate
        self.jobs: LRUCache[str, SpanContext] = LRUCache(_MAX_JOBS)
        self._exporting = SpanExport(settings)

    async def __aenter__(self) -> Self:
        self.otel: OtelTracer = self._exporting.open().get_tracer("easel", __version__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exporting.close()

    def start_server_span(
        self, name: str, headers: Headers, about: Mapping[str, Value]
    ) -> ServerSpan:
        """Start the span of a client request, in the trace that its headers name."""
        otel = self.otel.start_span(name, extract_parent(headers), SpanKind.SERVER, about)
        return ServerSpan(self, otel, extract_baggage(headers) if self.propagate == "all" else "")


class Span:
    """A span. As a context manager it is the current span, and ends with the block."""

    __slots__ = ("_token", "baggage", "counts", "otel", "tracer")

    def __init__(self, tracer: Tracer, otel: OtelSpan, baggage: str) -> None:
        self.tracer = tracer
        self.otel = otel
        self.baggage = baggage
        self.counts: dict[str, int] = {}
        self._token: Token[object] | None = None

    def __enter__(self) -> Self:
        self._token = CURRENT_SPAN.set(self)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._token:
            CURRENT_SPAN.reset(self._token)
        with bookkeeping("traces"):
            if error is not None:
                self.set_error(error_type(error))
            self.otel.end()

    @property
    def context(self) -> SpanContext:
        """The span's ids and flags, as other services know them."""
        return self.otel.get_span_context()

    @property
    def is_sampled(self) -> bool:
        """Whether the span and its children are exported."""
        return self.context.trace_flags.sampled

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hexadecimal digits."""
        return f"{self.context.trace_id:032x}"

    @property
    def headers(self) -> Mapping[str, str]:
        """The trace headers for a provider request made in this span."""
        return propagation_headers(self.context, self.tracer.propagate, self.baggage)

    def start_child(
        self, name: str, about: Mapping[str, Value], kind: SpanKind = SpanKind.INTERNAL
    ) -> Span:
        """Start a child span. This span may have ended."""
        inside = set_span_in_context(self.otel, Context())
        return Span(
            self.tracer, self.tracer.otel.start_span(name, inside, kind, about), self.baggage
        )

    def start_job(self, name: str) -> Span:
        """Start the span of a job that this request started."""
        span = self.start_child(attributes.JOB_SPAN, {attributes.JOB: name})
        self.tracer.jobs[name] = span.context
        return span

    def link_to_job(self, job: str) -> None:
        """Link to the span of a job that another request started, if it is remembered here."""
        if context := self.tracer.jobs.get(job):
            self.otel.add_link(context, {attributes.JOB: job})

    def set_attributes(self, about: Mapping[str, Value]) -> None:
        """Set attributes."""
        self.otel.set_attributes(about)

    def add_count(self, name: str, count: int) -> None:
        """Add to an attribute that counts."""
        self.counts[name] = self.counts.get(name, 0) + count
        self.otel.set_attribute(name, self.counts[name])

    def add_event(self, event: str, about: Mapping[str, Value]) -> None:
        """Add an event."""
        self.otel.add_event(event, dict(about))

    def set_error(self, why: str) -> None:
        """Mark the span as failed. `why` is a code, never a message: that could hold a prompt."""
        self.otel.set_attribute(attributes.ERROR, why)
        self.otel.set_status(StatusCode.ERROR)


class ServerSpan(Span):
    """The span of a client request. `status` is the response's, 0 without a response."""

    __slots__ = ("status",)

    def __init__(self, tracer: Tracer, otel: OtelSpan, baggage: str) -> None:
        super().__init__(tracer, otel, baggage)
        self.status = 0

    def set_error(self, why: str) -> None:
        """Set the error. By convention a client error (4xx) does not fail a server span."""
        self.otel.set_attribute(attributes.ERROR, why)
        if not is_client_error(self.status):
            self.otel.set_status(StatusCode.ERROR)


def error_type(error: BaseException) -> str:
    """Return the `error.type` of an exception."""
    if isinstance(error, ImageError):
        return log_code(error)
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
