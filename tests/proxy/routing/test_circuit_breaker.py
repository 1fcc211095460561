"""The circuit breaker opens, makes one trial, and closes; with a fake clock."""

from __future__ import annotations

from proxy.routing.circuit_breaker import LocalCircuitBreakers
from proxy.settings.policies import BreakerPolicy

COUNT = BreakerPolicy(failure_threshold=2, cooldown_interval=30_000)
RATE = BreakerPolicy(failure_threshold_percentage=20, minimum_requests=10, cooldown_interval=60_000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def circuits(*statuses: int, policy: BreakerPolicy = COUNT) -> tuple[LocalCircuitBreakers, Clock]:
    clock = Clock()
    made = LocalCircuitBreakers(clock)
    for status in statuses:
        made.on_result("c", policy, status)
    return made, clock


def test_it_opens_when_failures_exceed_the_threshold() -> None:
    made, _ = circuits(503, 503)
    assert not made.is_open("c")
    made.on_result("c", COUNT, 503)
    assert made.is_open("c")
    assert made.states() == {"c": "open"}


def test_only_statuses_above_500_are_failures_unless_told() -> None:
    made, _ = circuits(500, 500, 500, 429, 401)
    assert not made.is_open("c")


def test_the_statuses_that_count_can_be_named() -> None:
    named = BreakerPolicy(failure_threshold=1, failure_status_codes=frozenset({429}))
    assert circuits(429, 429, policy=named)[0].is_open("c")
    assert not circuits(503, 503, policy=named)[0].is_open("c")


def test_a_rate_counts_once_there_are_enough_requests() -> None:
    made, _ = circuits(*[503] * 3, *[200] * 6, policy=RATE)
    assert not made.is_open("c")
    made.on_result("c", RATE, 200)
    assert made.is_open("c")


def test_one_request_is_let_through_when_the_cooldown_has_passed() -> None:
    made, clock = circuits(503, 503, 503)
    clock.now += 29.9
    assert made.is_open("c")
    clock.now += 0.1
    assert not made.is_open("c")
    assert made.states() == {"c": "half-open"}
    made.on_start("c")
    assert made.is_open("c")


def test_a_trial_that_succeeds_closes_it() -> None:
    made, clock = circuits(503, 503, 503)
    clock.now += 30
    made.on_start("c")
    made.on_result("c", COUNT, 200)
    assert (made.is_open("c"), made.states()) == (False, {})


def test_a_trial_that_fails_opens_it_again() -> None:
    made, clock = circuits(503, 503, 503)
    clock.now += 30
    made.on_start("c")
    made.on_result("c", COUNT, 503)
    assert made.is_open("c")
    clock.now += 30
    assert not made.is_open("c")


def test_a_trial_that_shows_nothing_leaves_the_trial_to_the_next() -> None:
    made, clock = circuits(503, 503, 503)
    clock.now += 30
    made.on_start("c")
    made.on_result("c", COUNT, None)
    assert (made.is_open("c"), made.states()) == (False, {"c": "half-open"})


def test_failures_of_long_ago_do_not_add_up() -> None:
    made, clock = circuits(503, 503)
    clock.now += 31
    made.on_result("c", COUNT, 503)
    assert not made.is_open("c")


def test_circuits_do_not_touch_each_other() -> None:
    made, _ = circuits(503, 503, 503)
    assert not made.is_open("other")
