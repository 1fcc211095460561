"""Export of spans over OTLP/HTTP, from the SDK's own thread.

Invariant: nothing waits for the receiver. Spans that it does not accept in time are dropped, which
is logged once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from proxy import __version__
from proxy.settings.schema import Tracing

_LOG = logging.getLogger("easel")
_SDK = logging.getLogger("opentelemetry")
_SDK_HEADER_PARSER = logging.getLogger("opentelemetry.util.re")

_FLUSH_SECONDS = 3.0
"""How long shutdown waits for the last spans to be sent."""
_MAX_VALUE_LENGTH = 512
_TRACES_PATH = "/v1/traces"
_UNKNOWN_SERVICE = "unknown_service"


class SpanExport:
    """Sends the spans of a process, between `open` and `close`."""

    def __init__(self, settings: Tracing) -> None:
        self._settings = settings
        self._exporter: _LoggingExporter | None = None
        self._provider: TracerProvider | None = None

    def open(self) -> TracerProvider:
        """Start the exporter and return the SDK's tracer provider."""
        settings = self._settings
        _hide_headers()
        # Without an endpoint, the exporter reads the environment.
        exporter = self._exporter = _LoggingExporter(
            OTLPSpanExporter(traces_url(settings.endpoint))
        )
        provider = self._provider = TracerProvider(
            sampler=_sampler(settings.sample),
            resource=_resource(settings.service_name),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_attribute_length=_MAX_VALUE_LENGTH),
        )
        provider.add_span_processor(BatchSpanProcessor(exporter))
        # Only now: the SDK has reported mistakes in environment variables by here.
        _silence_sdk()
        return provider

    async def close(self) -> None:
        """Send the remaining spans, within a few seconds, and stop."""
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            assert self._provider  # noqa: S101 - it is open
            self._provider.shutdown()
            with suppress(RuntimeError):  # The loop is closed already.
                loop.call_soon_threadsafe(flushed.set)

        # Not an executor's thread: the loop would wait for that without a limit.
        threading.Thread(target=flush, name="easel-traces", daemon=True).start()
        try:
            await asyncio.wait_for(flushed.wait(), _FLUSH_SECONDS)
        except TimeoutError:
            assert self._exporter  # noqa: S101 - it is open
            self._exporter.shutdown()


class _LoggingExporter(SpanExporter):
    """Logs once that spans are dropped, and once that they are accepted again.

    Called from one thread only.
    """

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._is_unavailable = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch of spans."""
        result = self._inner.export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_unavailable:
            _LOG.warning("traces: receiver unavailable or rejecting spans; dropping spans")
        elif self._is_unavailable and not is_away:
            _LOG.warning("traces: receiver accepts spans again")
        self._is_unavailable = is_away
        return result

    def shutdown(self) -> None:
        """Stop retrying and logging."""
        self._is_unavailable = True
        self._inner.shutdown()


class _QueueFullHandler(logging.Handler):
    """Logs once that the export queue is full; drops all other messages of the SDK."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._has_logged = False

    def emit(self, record: logging.LogRecord) -> None:
        """Handle a message of the SDK, which may quote a span's content."""
        if not self._has_logged and str(record.msg).startswith("Queue full"):
            self._has_logged = True
            _LOG.warning("traces: export queue full; dropping spans")


class _ValueFilter(logging.Filter):
    """Removes what a message quotes: a malformed header of OTEL_EXPORTER_OTLP_HEADERS, a key."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the message, with `***` for each value."""
        record.args = ("***",) * len(record.args or ())
        return True


def _hide_headers() -> None:
    if not any(isinstance(it, _ValueFilter) for it in _SDK_HEADER_PARSER.filters):
        _SDK_HEADER_PARSER.addFilter(_ValueFilter())


def _silence_sdk() -> None:
    if not any(isinstance(it, _QueueFullHandler) for it in _SDK.handlers):
        _SDK.addHandler(_QueueFullHandler())
    _SDK.propagate = False


def traces_url(url: str) -> str | None:
    """Return the URL that spans are sent to; None leaves it to the environment.

    >>> traces_url("http://collector:4318/"), traces_url("https://h/otlp/v1/traces")
    ('http://collector:4318/v1/traces', 'https://h/otlp/v1/traces')
    """
    return url.rstrip("/").removesuffix(_TRACES_PATH) + _TRACES_PATH if url else None


def _sampler(ratio: float) -> Sampler | None:
    """Return a sampler that follows the caller's decision, else samples a share of requests.

    None leaves it to the environment.
    """
    return ParentBased(TraceIdRatioBased(ratio)) if ratio < 1 else None


def _resource(name: str) -> Resource:
    """Return the resource, named by the settings, else the environment, else `easel`."""
    given = name or os.environ.get("OTEL_SERVICE_NAME", "")
    named = {SERVICE_NAME: given} if given else {}
    made = Resource.create({SERVICE_VERSION: __version__, **named})
    if str(made.attributes.get(SERVICE_NAME)).startswith(_UNKNOWN_SERVICE):
        return made.merge(Resource({SERVICE_NAME: "easel"}))
    return made
