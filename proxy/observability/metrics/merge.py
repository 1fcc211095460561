"""Snapshots of a process's metrics: encoding, and merging those of several processes.

A snapshot describes each metric completely, so that merging needs no registry and processes of
two versions can be merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

Labels = tuple[str, ...]
"""The names or the values of a metric's labels, in its own order."""

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
"""The kinds of metrics."""


class MetricSnapshot(msgspec.Struct, array_like=True):
    """One metric with its samples. `merge` is how values of several processes are combined.

    A sample is its label values and a list: one value, or, of a histogram, the (not cumulative)
    count of each bucket, the count above the last of `bounds`, and the sum.
    """

    name: str
    help_text: str
    kind: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    merge: str = "sum"
    samples: list[tuple[Labels, list[float]]] = []


_MERGE_FUNCTIONS: dict[str, Callable[[float, float], float]] = {
    "sum": lambda one, other: one + other,
    "max": max,
    "min": min,
}
MERGE_RULES = frozenset(_MERGE_FUNCTIONS)
"""The ways to merge a gauge."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[MetricSnapshot])


def encode_snapshot(metrics: Sequence[MetricSnapshot]) -> bytes:
    """Encode a snapshot as MessagePack."""
    return _encoder.encode(metrics)


def decode_snapshot(snapshot: bytes) -> list[MetricSnapshot]:
    """Decode a snapshot. Raises `msgspec.MsgspecError`."""
    return _decoder.decode(snapshot)


def merge_snapshots(live: Sequence[bytes], exited: Sequence[bytes] = ()) -> bytes:
    """Merge the snapshots of several processes into one.

    Of processes that have exited, only counters and histograms count: those must never fall. The
    result is a snapshot, so `merge_snapshots((), (earlier, last))` accumulates exited processes.
    """
    merged: dict[str, _MergedMetric] = {}
    for metric in (it for snapshot in live for it in decode_snapshot(snapshot)):
        merged.setdefault(metric.name, _MergedMetric(metric)).add(metric)
    for metric in (
        it for snapshot in exited for it in decode_snapshot(snapshot) if it.kind != GAUGE
    ):
        merged.setdefault(metric.name, _MergedMetric(metric)).add(metric)
    return encode_snapshot([it.snapshot() for it in merged.values()])


class _MergedMetric:
    """One metric of several processes. A different definition (of another version) is skipped."""

    __slots__ = ("_first", "_merge", "_samples")

    def __init__(self, first: MetricSnapshot) -> None:
        self._first = first
        self._merge = _MERGE_FUNCTIONS[first.merge]
        self._samples: dict[Labels, list[float]] = {}

    def add(self, metric: MetricSnapshot) -> None:
        first = self._first
        if (metric.kind, metric.labels, metric.bounds) == (first.kind, first.labels, first.bounds):
            for labels, values in metric.samples:
                self._add_sample(labels, values)

    def _add_sample(self, labels: Labels, values: Iterable[float]) -> None:
        known = self._samples.get(labels)
        if known is None:
            self._samples[labels] = list(values)
        else:
            self._samples[labels] = list(map(self._merge, known, values))

    def snapshot(self) -> MetricSnapshot:
        return msgspec.structs.replace(self._first, samples=list(self._samples.items()))
