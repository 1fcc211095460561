"""What a process has counted, in bytes, and how that of several processes is put together.

A snapshot says of each metric all that is needed to merge and to show it, so whoever merges need
not know it, and processes of two versions can be put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

Labels = tuple[str, ...]
"""The values of a metric's labels, in its own order."""

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
"""The kinds of metrics."""


class MetricSnapshot(msgspec.Struct, array_like=True):
    """One metric. `merge` is how the values of several processes become one.

    The values of a sample are the one there is, or of a histogram the count of each bucket (not of
    those below it as well), of what lies above the last of `bounds`, and the sum.
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
"""How gauges can be put together."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[MetricSnapshot])


def encode_snapshot(metrics: Sequence[MetricSnapshot]) -> bytes:
    """Write a snapshot."""
    return _encoder.encode(metrics)


def decode_snapshot(snapshot: bytes) -> list[MetricSnapshot]:
    """Read a snapshot; raises `msgspec.MsgspecError` where it is none."""
    return _decoder.decode(snapshot)


def merge_snapshots(live: Sequence[bytes], exited: Sequence[bytes] = ()) -> bytes:
    """Put together what processes have counted.

    Of those that are `gone` there are the counters and histograms, which must never fall. What
    comes out is a snapshot: `merged((), (known, last))` is all that is to be kept of them.
    """
    found: dict[str, _MergedMetric] = {}
    for told in (it for snapshot in live for it in decode_snapshot(snapshot)):
        found.setdefault(told.name, _MergedMetric(told)).add(told)
    for told in (it for snapshot in exited for it in decode_snapshot(snapshot) if it.kind != GAUGE):
        found.setdefault(told.name, _MergedMetric(told)).add(told)
    return encode_snapshot([it.snapshot() for it in found.values()])


class _MergedMetric:
    """One metric of several processes. What has another form is another version's: left out."""

    __slots__ = ("_first", "_merge", "_samples")

    def __init__(self, first: MetricSnapshot) -> None:
        self._first = first
        self._merge = _MERGE_FUNCTIONS[first.merge]
        self._samples: dict[Labels, list[float]] = {}

    def add(self, told: MetricSnapshot) -> None:
        first = self._first
        if (told.kind, told.labels, told.bounds) == (first.kind, first.labels, first.bounds):
            for labels, values in told.samples:
                self._add_sample(labels, values)

    def _add_sample(self, labels: Labels, values: Iterable[float]) -> None:
        known = self._samples.get(labels)
        if known is None:
            self._samples[labels] = list(values)
        else:
            self._samples[labels] = list(map(self._merge, known, values))

    def snapshot(self) -> MetricSnapshot:
        return msgspec.structs.replace(self._first, samples=list(self._samples.items()))
