"""Counters count, histograms sort into buckets, and what is watched is looked at when asked."""

from __future__ import annotations

from proxy.observability.metrics.instruments import CallbackMetric, Counter, Histogram
from proxy.observability.metrics.merge import GAUGE, MetricSnapshot


def test_a_counter_counts_for_each_of_its_labels() -> None:
    counter = Counter("c", "C.", ("of",))
    counter.add(("a",))
    counter.add(("a",), 2.5)
    counter.add(("b",))
    assert dict(counter.snapshot().samples) == {("a",): [3.5], ("b",): [1]}


def test_without_labels_there_is_a_sample_from_the_start() -> None:
    assert Counter("c", "C.").snapshot().samples == [((), [0])]
    assert Histogram("h", "H.", (1.0,)).snapshot().samples == [((), [0, 0, 0.0])]


def test_a_value_belongs_to_the_first_bucket_that_it_is_not_above() -> None:
    histogram = Histogram("h", "H.", (1.0, 2.0), ("of",))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value, ("a",))
    assert histogram.snapshot().samples == [(("a",), [2, 2, 1, 7.5])]


def test_what_was_told_does_not_change_with_what_is_counted_later() -> None:
    histogram = Histogram("h", "H.", (1.0,))
    told = histogram.snapshot()
    histogram.observe(0.5)
    assert told.samples == [((), [0, 0, 0.0])]


def test_what_is_watched_is_told_as_it_is_now() -> None:
    seen = {"open": 1}
    watched = CallbackMetric(MetricSnapshot("g", "G.", GAUGE, ("state",)), lambda: seen)
    seen["open"] = 2
    assert watched.snapshot().samples == [(("open",), [2.0])]
    assert CallbackMetric(MetricSnapshot("g", "G.", GAUGE), lambda: 7).snapshot().samples == [
        ((), [7.0])
    ]
