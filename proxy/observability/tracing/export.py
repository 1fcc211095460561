"""Where spans go: to a receiver of OTLP over HTTP, from a thread of the SDK's own.

The law: nothing waits for the receiver. What it does not take in time is dropped, and said once.
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

_FLUSH_SECONDS = 3.0
"""How long the end of a process waits for its last spans to arrive."""
_MAX_VALUE_LENGTH = 512
_TRACES_PATH = "/v1/traces"
_UNKNOWN_SERVICE = "unknown_service"


class SpanExport:
    """Sends the spans of a process, from when it is opened until it is closed."""

    def __init__(self, settings: Tracing) -> None:
        self._settings = settings
        self._exporter: _LoggingExporter | None = None
        self._provider: TracerProvider | None = None

    def open(self) -> TracerProvider:
        """Start, and give what makes the SDK's own tracers."""
        settings = self._settings
        # Without an endpoint the exporter asks the environment.
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
        # From here on: what is wrong with the environment's variables has been told.
        _silence_sdk()
        return provider

    async def close(self) -> None:
        """Send what is left, within a few seconds, and stop."""
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            assert self._provider  # noqa: S101 - it is open
            self._provider.shutdown()
            with suppress(RuntimeError):  # The loop has not waited.
                loop.call_soon_threadsafe(flushed.set)

        # Not one of the loop's own threads, which would be waited for without an end.
        threading.Thread(target=flush, name="easel-traces", daemon=True).start()
        try:
            await asyncio.wait_for(flushed.wait(), _FLUSH_SECONDS)
        except TimeoutError:
            assert self._exporter  # noqa: S101 - it is open
            self._exporter.shutdown()


class _LoggingExporter(SpanExporter):
    """Says once that spans are dropped, and once that they arrive again; always from one thread."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._is_unavailable = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some spans."""
        result = self._inner.export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_unavailable:
            _LOG.warning("traces: the receiver is away or refuses them; spans are dropped")
        elif self._is_unavailable and not is_away:
            _LOG.warning("traces: spans arrive again")
        self._is_unavailable = is_away
        return result

    def shutdown(self) -> None:
        """Try nothing again, and say nothing more."""
        self._is_unavailable = True
        self._inner.shutdown()


class _QueueFullHandler(logging.Handler):
    """Says once that spans come faster than they can go; all else that the SDK says is told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._has_logged = False

    def emit(self, record: logging.LogRecord) -> None:
        """Hear what the SDK says: it may quote what it was given."""
        if not self._has_logged and str(record.msg).startswith("Queue full"):
            self._has_logged = True
            _LOG.warning("traces: spans come faster than the receiver takes them; some are dropped")


def _silence_sdk() -> None:
    if not any(isinstance(it, _QueueFullHandler) for it in _SDK.handlers):
        _SDK.addHandler(_QueueFullHandler())
    _SDK.propagate = False


def traces_url(url: str) -> str | None:
    """Give the URL that spans are sent to, None where the environment is to say it.

    >>> endpoint_of("http://collector:4318/"), endpoint_of("https://h/otlp/v1/traces")
    ('http://collector:4318/v1/traces', 'https://h/otlp/v1/traces')
    """
    return url.rstrip("/").removesuffix(_TRACES_PATH) + _TRACES_PATH if url else None


def _sampler(ratio: float) -> Sampler | None:
    """Sample as the caller of a request does, else a share; None: as the environment says."""
    return ParentBased(TraceIdRatioBased(ratio)) if ratio < 1 else None


def _resource(name: str) -> Resource:
    """Say who sends: by the settings, else by the environment, else as easel."""
    given = name or os.environ.get("OTEL_SERVICE_NAME", "")
    named = {SERVICE_NAME: given} if given else {}
    made = Resource.create({SERVICE_VERSION: __version__, **named})
    if str(made.attributes.get(SERVICE_NAME)).startswith(_UNKNOWN_SERVICE):
        return made.merge(Resource({SERVICE_NAME: "easel"}))
    return made
