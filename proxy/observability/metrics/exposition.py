"""The page that a scraper reads, written by prometheus-client: an extra, imported when used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from proxy.observability.metrics.merge import COUNTER, GAUGE, MetricSnapshot, decode_snapshot

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class MissingLibraryError(Exception):
    """The library that writes the page is not installed."""


def render(snapshot: bytes, accept: str) -> tuple[bytes, str]:
    """Write what a snapshot holds, in the form that a scraper accepts; gives its content type.

    Raises `NoLibraryError`.
    """
    try:
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingLibraryError from None
    encoder, content_type = choose_encoder(accept)
    return encoder(_SnapshotCollector(decode_snapshot(snapshot))), content_type


class _SnapshotCollector:
    """What the library asks of a collector."""

    def __init__(self, metrics: list[MetricSnapshot]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return map(_metric_family, self._metrics)


def _metric_family(told: MetricSnapshot) -> Metric:
    from prometheus_client import core  # noqa: PLC0415 - see `page`

    if told.kind in (COUNTER, GAUGE):
        kind = core.CounterMetricFamily if told.kind == COUNTER else core.GaugeMetricFamily
        simple = kind(told.name, told.help_text, labels=told.labels)
        for labels, (value,) in told.samples:
            simple.add_metric(labels, value)
        return simple
    family = core.HistogramMetricFamily(told.name, told.help_text, labels=told.labels)
    for labels, (*counts, total) in told.samples:
        family.add_metric(labels, list(_cumulative_buckets(told.bounds, counts)), total)
    return family


def _cumulative_buckets(
    bounds: tuple[float, ...], counts: list[float]
) -> Iterator[tuple[str, float]]:
    """Give each bucket with the count of all below it, as they are shown."""
    names = [*map(str, bounds), "+Inf"]
    return zip(names, accumulate(counts), strict=True)
