"""The object that makes spans, and the spans that it makes."""

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
"""Jobs whose spans are known, for those who join them later."""


class Tracer:
    """Makes the spans of a process, for as long as it is entered."""

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
        """Give the span of a request, in the trace that its headers name."""
        otel = self.otel.start_span(name, extract_parent(headers), SpanKind.SERVER, about)
        return ServerSpan(self, otel, extract_baggage(headers) if self.propagate == "all" else "")


class Span:
    """A span: what is begun in its block is its child, and it ends with the block."""

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
        if error is not None:
            self.set_error(error_type(error))
        self.otel.end()

    @property
    def context(self) -> SpanContext:
        """By what the span is known elsewhere."""
        return self.otel.get_span_context()

    @property
    def is_sampled(self) -> bool:
        """Whether anybody is going to see it, and what is begun inside of it."""
        return self.context.trace_flags.sampled

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hexadecimal digits."""
        return f"{self.context.trace_id:032x}"

    @property
    def headers(self) -> Mapping[str, str]:
        """What a provider is sent along with a request that is made in this span."""
        return propagation_headers(self.context, self.tracer.propagate, self.baggage)

    def start_child(
        self, name: str, about: Mapping[str, Value], kind: SpanKind = SpanKind.INTERNAL
    ) -> Span:
        """Begin a span inside of this one, which may have ended."""
        inside = set_span_in_context(self.otel, Context())
        return Span(
            self.tracer, self.tracer.otel.start_span(name, inside, kind, about), self.baggage
        )

    def start_job(self, name: str) -> Span:
        """Begin the span of a job that this request began."""
        span = self.start_child(attributes.JOB_SPAN, {attributes.JOB: name})
        self.tracer.jobs[name] = span.context
        return span

    def link_to_job(self, job: str) -> None:
        """Lead to the span of a job that another request began, if it is known here."""
        if context := self.tracer.jobs.get(job):
            self.otel.add_link(context, {attributes.JOB: job})

    def set_attributes(self, about: Mapping[str, Value]) -> None:
        """Say more of it."""
        self.otel.set_attributes(about)

    def add_count(self, name: str, count: int) -> None:
        """Add to what was counted."""
        self.counts[name] = self.counts.get(name, 0) + count
        self.otel.set_attribute(name, self.counts[name])

    def add_event(self, event: str, about: Mapping[str, Value]) -> None:
        """Note that something happened just now."""
        self.otel.add_event(event, dict(about))

    def set_error(self, why: str) -> None:
        """Say that it failed, by a word: no sentence, which could hold a prompt."""
        self.otel.set_attribute(attributes.ERROR, why)
        self.otel.set_status(StatusCode.ERROR)


class ServerSpan(Span):
    """The span of a request of a client's, which is answered with `status`; 0: with none."""

    __slots__ = ("status",)

    def __init__(self, tracer: Tracer, otel: OtelSpan, baggage: str) -> None:
        super().__init__(tracer, otel, baggage)
        self.status = 0

    def set_error(self, why: str) -> None:
        """Say why it failed; what the client did wrong is no fault of the server's."""
        self.otel.set_attribute(attributes.ERROR, why)
        if not is_client_error(self.status):
            self.otel.set_status(StatusCode.ERROR)


def error_type(error: BaseException) -> str:
    """Give the word for a failure."""
    if isinstance(error, ImageError):
        return log_code(error)
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
