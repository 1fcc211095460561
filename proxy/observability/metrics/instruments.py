"""Counters and histograms for the way of every request: a look-up and an addition each.

One thread adds to them, that of the event loop. Labels are given as a tuple, in the metric's own
order, and are to be of a fixed set: there is one sample for each that was ever given.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping

from proxy.observability.metrics.merge import COUNTER, HISTOGRAM, Labels, Told

Watch = Callable[[], float | Mapping[str, float]]
"""Gives the value that something has now, or one for each value of a label."""


class Counter:
    """A number that only grows, for each of some labels."""

    __slots__ = ("_cells", "_told")

    def __init__(self, name: str, about: str, labels: Labels = ()) -> None:
        self._told = Told(name, about, COUNTER, labels)
        self._cells: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, labels: Labels = (), more: float = 1) -> None:
        """Count one more, or so many."""
        cells = self._cells
        cells[labels] = cells.get(labels, 0) + more

    def told(self) -> Told:
        """Give what was counted."""
        samples = [(labels, [value]) for labels, value in self._cells.items()]
        return _with(self._told, samples)


class Histogram:
    """How often values came, by how large they were, for each of some labels."""

    __slots__ = ("_bounds", "_cells", "_told")

    def __init__(
        self, name: str, about: str, bounds: tuple[float, ...], labels: Labels = ()
    ) -> None:
        self._told = Told(name, about, HISTOGRAM, labels, bounds)
        self._bounds = bounds
        self._cells: dict[Labels, list[float]] = {} if labels else {(): self._empty()}

    def see(self, value: float, labels: Labels = ()) -> None:
        """Count a value; one that is a bound belongs to what lies below it."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = self._empty()
        cell[bisect_left(self._bounds, value)] += 1
        cell[-1] += value

    def told(self) -> Told:
        """Give what was counted."""
        return _with(self._told, [(labels, list(cell)) for labels, cell in self._cells.items()])

    def _empty(self) -> list[float]:
        return [0] * (len(self._bounds) + 1) + [0.0]


class Watched:
    """Something that is looked at when somebody asks: a gauge, or what counts itself elsewhere.

    `label` is what the keys of a mapping are values of; with none, there is one value.
    """

    __slots__ = ("_told", "_watch")

    def __init__(self, told: Told, watch: Watch) -> None:
        self._told = told
        self._watch = watch

    def told(self) -> Told:
        """Look, and give what is seen."""
        seen = self._watch()
        if isinstance(seen, Mapping):
            return _with(self._told, [((name,), [float(it)]) for name, it in seen.items()])
        return _with(self._told, [((), [float(seen)])])


def _with(told: Told, samples: list[tuple[Labels, list[float]]]) -> Told:
    return Told(told.name, told.about, told.kind, told.labels, told.bounds, told.merge, samples)
