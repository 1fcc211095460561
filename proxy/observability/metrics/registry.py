"""Every metric that is counted on the way of requests, and a place for those that others add.

    metrics.attempts.add((provider, result))         on the way: a number that is held here
    metrics.gauge("easel_tasks", "…", count_tasks)   looked at when somebody asks

`docs/metrics.md` lists all of them; a test holds it against this.
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
"""Where buckets of a picture's time end."""
_QUEUE_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0),
)
"""Where buckets of a wait's time end, which should be short."""

Gather = Callable[[], Awaitable[bytes]]


class Metrics:
    """What one process counts. `gather` gives what the page shows: this process's own numbers.

    Who runs several processes sets `gather` to what gives the numbers of all, `merged`.
    """

    def __init__(self) -> None:
        self._all: dict[str, Counter | Histogram | CallbackMetric] = {}
        self.gather: Gather = self._own_snapshot
        self.requests = self._add_counter(
            "easel_requests_total",
            "Requests for pictures, by what they came to.",
            ("provider", "family", "outcome", "cache"),
        )
        self.http_requests = self._add_counter(
            "easel_http_requests_total", "Requests of every kind.", ("route", "status")
        )
        self.attempts = self._add_counter(
            "easel_attempts_total",
            "Attempts at a target for which its provider was asked.",
            ("provider", "result"),
        )
        self.retries = self._add_counter(
            "easel_retries_total", "Requests to a provider that were sent once more.", ("provider",)
        )
        self.fallbacks = self._add_counter(
            "easel_fallbacks_total",
            "Failures of this provider after which the next target was tried.",
            ("provider",),
        )
        self.images = self._add_counter(
            "easel_pictures_total",
            "Pictures that answers hold.",
            ("provider", "family", "source"),
        )
        self.unpriced_images = self._add_counter(
            "easel_pictures_unpriced_total",
            "Pictures of a provider's whose price is not known.",
            ("provider",),
        )
        self.dollars = self._add_counter(
            "easel_dollars_total",
            "US dollars that pictures cost, as far as prices are known.",
            ("provider", "family"),
        )
        self.request_bytes = self._add_counter(
            "easel_request_bytes_total", "Bytes of clients' bodies."
        )
        self.answer_bytes = self._add_counter(
            "easel_answer_bytes_total", "Bytes of answers to clients."
        )
        self.jobs_begun = self._add_counter("easel_jobs_begun_total", "Jobs that were begun.")
        self.joined = self._add_counter(
            "easel_joined_total",
            "Requests that found their job instead of beginning one, by its state.",
            ("status",),
        )
        self.request_seconds = self._add_histogram(
            "easel_request_seconds",
            "Seconds from a request for pictures to the end of its answer.",
            _LATENCY_BUCKETS,
            ("provider", "outcome", "cache"),
        )
        self.first_byte_seconds = self._add_histogram(
            "easel_first_byte_seconds",
            "Seconds from a request for pictures to the head of its answer.",
            _LATENCY_BUCKETS,
            ("provider", "cache"),
        )
        self.queue_seconds = self._add_histogram(
            "easel_queue_seconds",
            "Seconds from a request for pictures to its first request to a provider.",
            _QUEUE_BUCKETS,
        )
        self.provider_seconds = self._add_histogram(
            "easel_provider_seconds",
            "Seconds of one conversation with a provider, retries and polling included.",
            _LATENCY_BUCKETS,
            ("provider", "family"),
        )

    def counter(self, name: str, about: str, read_value: ReadValue, label: str = "") -> None:
        """Add a number that only grows, and that is kept elsewhere.

        With a `label`, `watch` gives a mapping, whose keys must be of a fixed set.
        """
        labels = (label,) if label else ()
        self._add(name, CallbackMetric(MetricSnapshot(name, about, COUNTER, labels), read_value))

    def gauge(
        self, name: str, about: str, read_value: ReadValue, label: str = "", *, merge: str = "sum"
    ) -> None:
        """Add a number that goes up and down. `merge`: of several processes the sum, max or min."""
        labels = (label,) if label else ()
        self._add(
            name,
            CallbackMetric(MetricSnapshot(name, about, GAUGE, labels, merge=merge), read_value),
        )

    def snapshot(self) -> bytes:
        """Give all that this process has counted."""
        return encode_snapshot([it.snapshot() for it in self._all.values()])

    async def _own_snapshot(self) -> bytes:
        return self.snapshot()

    def _add(self, name: str, metric: Counter | Histogram | CallbackMetric) -> None:
        if name in self._all:
            raise ValueError(f"{name} is there already")
        self._all[name] = metric

    def _add_counter(self, name: str, about: str, labels: Labels = ()) -> Counter:
        made = Counter(name, about, labels)
        self._add(name, made)
        return made

    def _add_histogram(
        self, name: str, about: str, bounds: tuple[float, ...], labels: Labels = ()
    ) -> Histogram:
        made = Histogram(name, about, bounds, labels)
        self._add(name, made)
        return made


METRICS: web.AppKey[Metrics] = web.AppKey("metrics")
"""The metrics of this process."""
