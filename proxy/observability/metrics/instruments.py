"""Counters and histograms for the way of every request: a look-up and an addition each.

One thread adds to them, that of the event loop. Labels are given as a tuple, in the metric's own
order, and are to be of a fixed set: there is one sample for each that was ever given.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping

from proxy.observability.metrics.merge import COUNTER, HISTOGRAM, Labels, MetricSnapshot

ReadValue = Callable[[], float | Mapping[str, float]]
"""Gives the value that something has now, or one for each value of a label."""


class Counter:
    """A number that only grows, for each of some labels."""

    __slots__ = ("_cells", "_definition")

    def __init__(self, name: str, about: str, labels: Labels = ()) -> None:
        self._definition = MetricSnapshot(name, about, COUNTER, labels)
        self._cells: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Count one more, or so many."""
        cells = self._cells
        cells[labels] = cells.get(labels, 0) + amount

    def snapshot(self) -> MetricSnapshot:
        """Give what was counted."""
        samples = [(labels, [value]) for labels, value in self._cells.items()]
        return _with_samples(self._definition, samples)


class Histogram:
    """How often values came, by how large they were, for each of some labels."""

    __slots__ = ("_bounds", "_cells", "_definition")

    def __init__(
        self, name: str, about: str, bounds: tuple[float, ...], labels: Labels = ()
    ) -> None:
        self._definition = MetricSnapshot(name, about, HISTOGRAM, labels, bounds)
        self._bounds = bounds
        self._cells: dict[Labels, list[float]] = {} if labels else {(): self._empty()}

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Count a value; one that is a bound belongs to what lies below it."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = self._empty()
        cell[bisect_left(self._bounds, value)] += 1
        cell[-1] += value

    def snapshot(self) -> MetricSnapshot:
        """Give what was counted."""
        return _with_samples(
            self._definition, [(labels, list(cell)) for labels, cell in self._cells.items()]
        )

    def _empty(self) -> list[float]:
        return [0] * (len(self._bounds) + 1) + [0.0]


class CallbackMetric:
    """Something that is looked at when somebody asks: a gauge, or what counts itself elsewhere.

    `label` is what the keys of a mapping are values of; with none, there is one value.
    """

    __slots__ = ("_definition", "_read_value")

    def __init__(self, told: MetricSnapshot, watch: ReadValue) -> None:
        self._definition = told
        self._read_value = watch

    def snapshot(self) -> MetricSnapshot:
        """Look, and give what is seen."""
        seen = self._read_value()
        if isinstance(seen, Mapping):
            return _with_samples(
                self._definition, [((name,), [float(it)]) for name, it in seen.items()]
            )
        return _with_samples(self._definition, [((), [float(seen)])])


def _with_samples(
    told: MetricSnapshot, samples: list[tuple[Labels, list[float]]]
) -> MetricSnapshot:
    return MetricSnapshot(
        told.name, told.help_text, told.kind, told.labels, told.bounds, told.merge, samples
    )
