"""The registry: every metric that requests update, and those read by callback.

    metrics.attempts.add((provider, result))         updated by requests
    metrics.gauge("easel_tasks", "…", count_tasks)   read at scrape time

`docs/metrics.md` lists all of them; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from proxy.observability.metrics.instruments import CallbackMetric, Counter, Histogram, ReadValue
from proxy.observability.metrics.merge import (
    COUNTER,
    GAUGE,
    Labels,
    MetricSnapshot,
    encode_snapshot,
)

_LATENCY_BUCKETS = (
    *(0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0),
    *(45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 900.0),
)
"""Upper bounds, in seconds, of the buckets for image requests."""
_QUEUE_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0),
)
"""Upper bounds, in seconds, of the buckets for waits, which should be short."""

Gather = Callable[[], Awaitable[bytes]]


class Metrics:
    """The metrics of one process.

    `gather` returns the encoded snapshot that the page shows. It is this process's own; with
    several workers it is replaced by one that merges the snapshots of all.
    """

    def __init__(self) -> None:
        self._all: dict[str, Counter | Histogram | CallbackMetric] = {}
        self.gather: Gather = self._own_snapshot
        self.requests = self._add_counter(
            "easel_requests_total",
            "Image requests, by outcome.",
            ("provider", "family", "outcome", "cache"),
        )
        self.http_requests = self._add_counter(
            "easel_http_requests_total",
            "HTTP requests, by route and status class.",
            ("route", "status"),
        )
        self.attempts = self._add_counter(
            "easel_attempts_total",
            "Attempts at a target that reached its provider, by result.",
            ("provider", "result"),
        )
        self.retries = self._add_counter(
            "easel_retries_total", "Retried requests to a provider.", ("provider",)
        )
        self.fallbacks = self._add_counter(
            "easel_fallbacks_total",
            "Failures of a provider that led to the next target.",
            ("provider",),
        )
        self.images = self._add_counter(
            "easel_images_total",
            "Images delivered, by source.",
            ("provider", "family", "source"),
        )
        self.unpriced_images = self._add_counter(
            "easel_images_unpriced_total",
            "Images whose price is unknown.",
            ("provider",),
        )
        self.dollars = self._add_counter(
            "easel_dollars_total",
            "Cost of images in US dollars, where the price is known.",
            ("provider", "family"),
        )
        self.request_bytes = self._add_counter(
            "easel_request_bytes_total", "Bytes of request bodies."
        )
        self.answer_bytes = self._add_counter(
            "easel_answer_bytes_total", "Bytes of response bodies."
        )
        self.jobs_begun = self._add_counter("easel_jobs_begun_total", "Jobs started.")
        self.joined = self._add_counter(
            "easel_joined_total",
            "Requests that joined an existing job, by its state.",
            ("status",),
        )
        self.request_seconds = self._add_histogram(
            "easel_request_seconds",
            "Duration of image requests, until the end of the response.",
            _LATENCY_BUCKETS,
            ("provider", "outcome", "cache"),
        )
        self.first_byte_seconds = self._add_histogram(
            "easel_first_byte_seconds",
            "Duration of image requests, until the response's headers.",
            _LATENCY_BUCKETS,
            ("provider", "cache"),
        )
        self.queue_seconds = self._add_histogram(
            "easel_queue_seconds",
            "Time from an image request to its first request to a provider.",
            _QUEUE_BUCKETS,
        )
        self.provider_seconds = self._add_histogram(
            "easel_provider_seconds",
            "Duration of a conversation with a provider, with retries and polling.",
            _LATENCY_BUCKETS,
            ("provider", "family"),
        )

    def counter(self, name: str, help_text: str, read_value: ReadValue, label: str = "") -> None:
        """Register a counter that is kept elsewhere.

        With a `label`, `read_value` returns a mapping whose keys are from a fixed set.
        """
        labels = (label,) if label else ()
        self._add(
            name, CallbackMetric(MetricSnapshot(name, help_text, COUNTER, labels), read_value)
        )

    def gauge(
        self,
        name: str,
        help_text: str,
        read_value: ReadValue,
        label: str = "",
        *,
        merge: str = "sum",
    ) -> None:
        """Register a gauge. `merge` combines several processes: `sum`, `max` or `min`."""
        labels = (label,) if label else ()
        self._add(
            name,
            CallbackMetric(MetricSnapshot(name, help_text, GAUGE, labels, merge=merge), read_value),
        )

    def snapshot(self) -> bytes:
        """Return the encoded snapshot of this process."""
        return encode_snapshot([it.snapshot() for it in self._all.values()])

    async def _own_snapshot(self) -> bytes:
        return self.snapshot()

    def _add(self, name: str, metric: Counter | Histogram | CallbackMetric) -> None:
        if name in self._all:
            raise ValueError(f"the metric {name} is already registered")
        self._all[name] = metric

    def _add_counter(self, name: str, help_text: str, labels: Labels = ()) -> Counter:
        made = Counter(name, help_text, labels)
        self._add(name, made)
        return made

    def _add_histogram(
        self, name: str, help_text: str, bounds: tuple[float, ...], labels: Labels = ()
    ) -> Histogram:
        made = Histogram(name, help_text, bounds, labels)
        self._add(name, made)
        return made


METRICS: web.AppKey[Metrics] = web.AppKey("metrics")
"""The metrics of this process."""
