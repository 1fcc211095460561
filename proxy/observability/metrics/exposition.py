"""Renders the metrics page with `prometheus_client`, an extra that is imported when used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from proxy.observability.metrics.merge import COUNTER, GAUGE, MetricSnapshot, decode_snapshot

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class MissingLibraryError(Exception):
    """The `prometheus_client` package is not installed."""


def render(snapshot: bytes, accept: str) -> tuple[bytes, str]:
    """Render an encoded snapshot in the format that `accept` prefers.

    Return the page and its content type. Raises `MissingLibraryError`.
    """
    try:
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingLibraryError from None
    encoder, content_type = choose_encoder(accept)
    return encoder(_SnapshotCollector(decode_snapshot(snapshot))), content_type


class _SnapshotCollector:
    """Presents a snapshot as a `prometheus_client` collector."""

    def __init__(self, metrics: list[MetricSnapshot]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return map(_metric_family, self._metrics)


def _metric_family(metric: MetricSnapshot) -> Metric:
    from prometheus_client import core  # noqa: PLC0415 - see `page`

    if metric.kind in (COUNTER, GAUGE):
        kind = core.CounterMetricFamily if metric.kind == COUNTER else core.GaugeMetricFamily
        simple = kind(metric.name, metric.help_text, labels=metric.labels)
        for labels, (value,) in metric.samples:
            simple.add_metric(labels, value)
        return simple
    family = core.HistogramMetricFamily(metric.name, metric.help_text, labels=metric.labels)
    for labels, (*counts, total) in metric.samples:
        family.add_metric(labels, list(_cumulative_buckets(metric.bounds, counts)), total)
    return family


def _cumulative_buckets(
    bounds: tuple[float, ...], counts: list[float]
) -> Iterator[tuple[str, float]]:
    """Return each bucket's bound with the number of values up to it."""
    names = [*map(str, bounds), "+Inf"]
    return zip(names, accumulate(counts), strict=True)
