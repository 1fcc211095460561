"""What several processes have counted becomes one, and never falls when one of them is gone."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observability.metrics.merge import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    MetricSnapshot,
    decode_snapshot,
    encode_snapshot,
    merge_snapshots,
)

A, B = ("a",), ("b",)


def one(told: MetricSnapshot) -> bytes:
    return encode_snapshot([told])


def counted(**values: float) -> bytes:
    return one(
        MetricSnapshot(
            "c", "C.", COUNTER, ("of",), samples=[((k,), [v]) for k, v in values.items()]
        )
    )


def test_a_snapshot_is_read_as_it_was_written() -> None:
    told = MetricSnapshot("h", "H.", HISTOGRAM, ("of",), (1.0, 2.0), "sum", [(A, [1, 2, 3, 9.5])])
    assert decode_snapshot(encode_snapshot([told])) == [told]


def test_what_is_no_snapshot_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        merge_snapshots([b"\x01"])


def test_counters_of_processes_are_summed_those_of_the_gone_too() -> None:
    (told,) = decode_snapshot(merge_snapshots([counted(a=1, b=2), counted(a=10)], [counted(b=100)]))
    assert dict(told.samples) == {A: [11], B: [102]}


def test_buckets_and_sums_of_histograms_are_summed() -> None:
    made = [one(MetricSnapshot("h", "H.", HISTOGRAM, (), (1.0,), samples=[((), [1, 2, 3.5])]))] * 2
    assert decode_snapshot(merge_snapshots(made[:1], made[1:]))[0].samples == [((), [2, 4, 7.0])]


@pytest.mark.parametrize(("merge", "expected"), [("sum", 5), ("max", 3), ("min", 2)])
def test_gauges_are_put_together_as_they_say_and_none_of_the_gone(
    merge: str, expected: float
) -> None:
    two, three, gone = (
        one(MetricSnapshot("g", "G.", GAUGE, merge=merge, samples=[((), [it])]))
        for it in (2, 3, 100)
    )
    assert decode_snapshot(merge_snapshots([two, three], [gone]))[0].samples == [((), [expected])]


def test_a_metric_that_only_the_gone_have_had_is_still_there() -> None:
    assert decode_snapshot(merge_snapshots([], [counted(a=1)]))[0].samples == [(A, [1])]


def test_a_metric_of_another_form_does_not_spoil_the_others() -> None:
    other = one(MetricSnapshot("c", "C.", COUNTER, ("of", "more"), samples=[(("a", "x"), [5])]))
    assert decode_snapshot(merge_snapshots([counted(a=1), other]))[0].samples == [(A, [1])]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 1000)), max_size=6))
def test_what_is_kept_of_the_gone_can_be_put_together_step_by_step(
    processes: list[dict[str, int]],
) -> None:
    snapshots = [counted(**values) for values in processes]
    known = merge_snapshots([])
    for last in snapshots:
        known = merge_snapshots([], [known, last])
    stepwise = {it.name: dict(it.samples) for it in decode_snapshot(known)}
    assert stepwise == {
        it.name: dict(it.samples) for it in decode_snapshot(merge_snapshots([], snapshots))
    }
