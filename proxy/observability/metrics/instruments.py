"""Counters and histograms that cost a dictionary look-up and an addition.

Only the event loop's thread updates them. Labels are a tuple in the metric's own order, with values
from a fixed set: every combination ever used stays as a sample.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping

from proxy.observability.metrics.merge import COUNTER, HISTOGRAM, Labels, MetricSnapshot

ReadValue = Callable[[], float | Mapping[str, float]]
"""Returns the current value, or one for each value of a label."""


class Counter:
    """A counter: one growing number per combination of labels."""

    __slots__ = ("_cells", "_definition")

    def __init__(self, name: str, help_text: str, labels: Labels = ()) -> None:
        self._definition = MetricSnapshot(name, help_text, COUNTER, labels)
        self._cells: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Add `amount` to a sample."""
        cells = self._cells
        cells[labels] = cells.get(labels, 0) + amount

    def snapshot(self) -> MetricSnapshot:
        """Return the current values."""
        samples = [(labels, [value]) for labels, value in self._cells.items()]
        return _with_samples(self._definition, samples)


class Histogram:
    """A histogram: counts by bucket, and a sum, per combination of labels."""

    __slots__ = ("_bounds", "_cells", "_definition")

    def __init__(
        self, name: str, help_text: str, bounds: tuple[float, ...], labels: Labels = ()
    ) -> None:
        self._definition = MetricSnapshot(name, help_text, HISTOGRAM, labels, bounds)
        self._bounds = bounds
        self._cells: dict[Labels, list[float]] = {} if labels else {(): self._empty()}

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Count a value. One equal to a bound belongs to the bucket that ends there."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = self._empty()
        cell[bisect_left(self._bounds, value)] += 1
        cell[-1] += value

    def snapshot(self) -> MetricSnapshot:
        """Return the current values."""
        return _with_samples(
            self._definition, [(labels, list(cell)) for labels, cell in self._cells.items()]
        )

    def _empty(self) -> list[float]:
        return [0] * (len(self._bounds) + 1) + [0.0]


class CallbackMetric:
    """A metric whose value a callback returns: a gauge, or a counter kept elsewhere.

    If the callback returns a mapping, its keys are the values of the metric's one label.
    """

    __slots__ = ("_definition", "_read_value")

    def __init__(self, metric: MetricSnapshot, read_value: ReadValue) -> None:
        self._definition = metric
        self._read_value = read_value

    def snapshot(self) -> MetricSnapshot:
        """Call the callback and return its values."""
        value = self._read_value()
        if isinstance(value, Mapping):
            return _with_samples(
                self._definition, [((name,), [float(it)]) for name, it in value.items()]
            )
        return _with_samples(self._definition, [((), [float(value)])])


def _with_samples(
    metric: MetricSnapshot, samples: list[tuple[Labels, list[float]]]
) -> MetricSnapshot:
    return MetricSnapshot(
        metric.name,
        metric.help_text,
        metric.kind,
        metric.labels,
        metric.bounds,
        metric.merge,
        samples,
    )
