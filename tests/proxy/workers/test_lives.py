"""How long it takes until the next worker begins."""

from __future__ import annotations

from proxy.workers.lives import Backoff, ending


def test_each_time_it_takes_longer_up_to_half_a_minute() -> None:
    backoff = Backoff()
    assert [backoff.after(0) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_after_a_long_life_it_begins_anew() -> None:
    backoff = Backoff()
    assert [backoff.after(lived) for lived in (0, 0, 61, 0, 59)] == [1, 2, 1, 2, 4]


def test_an_unknown_signal_is_told_by_its_number() -> None:
    assert ending(-63) == "was ended by signal 63"
