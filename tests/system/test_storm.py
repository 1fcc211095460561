"""The storms: which measurements break a promise, and the rows of the page."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from storm.honest import Measurement
from storm.measure import Outcome
from storm.report import BEGIN, END, PAGE, broken_promises, row
from storm.storm import Layout
from storm.storms import STORMS

from proxy.settings.loader import parse


def measurement(seconds: float, **failures: int) -> Measurement:
    return Measurement(20, [seconds] * 20, Counter(failures))


GOOD = Outcome(
    STORMS["records-redis"],
    measurement(0.004),
    measurement(0.011),
    {"202": 5, "503": 9, "held": 3},
    paid_twice=0,
    peak_mb=100,
    budget_mb=200,
)


def test_each_broken_promise_is_named() -> None:
    assert not [*broken_promises(GOOD)]
    broken = {
        "3.2 times slower": replace(GOOD, beside=measurement(0.013)),
        "not answered": replace(GOOD, beside=measurement(0.004, cut=1)),
        "paid twice": replace(GOOD, paid_twice=1),
        "memory": replace(GOOD, peak_mb=201),
    }
    for name, outcome in broken.items():
        assert [*broken_promises(outcome)] == [name]
        assert f"**broken**: {name} |" in row(outcome)
    for results in ({"202": 5}, {"503": 5, "500": 1}, {"held": 9}, {}):
        outcome = replace(GOOD, results=results)
        assert [*broken_promises(outcome)] == ["the attacker's share"], results


def test_settings_of_every_storm_are_valid() -> None:
    for storm in STORMS.values():
        assert parse(storm.settings_yaml("http://127.0.0.1:1", "http://127.0.0.1:2"), environ={})


def test_the_budget_of_several_processes_includes_what_they_share() -> None:
    storm = STORMS["records-workers"]
    one = replace(storm, layout=Layout.ONE).budget_mb
    assert storm.budget_mb > 2 * one


def test_the_page_has_a_row_for_each_storm() -> None:
    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    for storm in STORMS.values():
        assert f"| {storm.attack} | {storm.layout.value} |" in table
