"""What is to come out: ratios within one run, each with its bound.

A line is computed from medians, and again from each round alone: that is its spread.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from .bench import Found
from .contestants import (
    DIRECT,
    EASEL,
    KEEPS_NOTHING,
    LITELLM,
    NAMES,
    NGINX,
    PORTKEY,
    RELAY,
    STATIC,
    TWO_WORKERS,
)
from .growth import CONFIG_KB, GROW_CONFIGS, GROW_JOBS, GROW_KEYS, KEYS, OPEN_JOBS
from .pictures import HUGE, LARGE
from .scenarios import CROWD, FORMS, FRESH, STREAMS, WORKERS

_MB = 1e6
_JOBS_MB = 268.4
"""What `jobs.memory_bytes` allows, by default."""


class NotMeasuredError(Exception):
    """A value was not measured in this run."""


Get = Callable[[str, str, str], float]
"""Gives a value by scenario, contestant, measure; raises `NotMeasuredError`."""


@dataclass(frozen=True)
class Line:
    """A value and its bound: the most it may be, or with `at_least` the least."""

    about: str
    value: Callable[[Get], float]
    bound: float
    at_least: bool = False
    unit: str = "x"
    wished: float | None = None

    def is_met(self, value: float) -> bool:
        """Hold a value against the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Outcome:
    """What a line came to: the median, and the least and most of a round."""

    line: Line
    value: float
    low: float
    high: float


def outcome(line: Line, found: Found) -> Outcome:
    """Compute a line; raises `NotMeasuredError`."""
    value = line.value(_from(found, statistics.median))
    rounds = []
    for number in range(_rounds(found)):
        try:
            rounds.append(line.value(_from(found, _of_round(number))))
        except NotMeasuredError:
            continue
    return Outcome(line, value, min(rounds, default=value), max(rounds, default=value))


def _from(found: Found, choose: Callable[[list[float]], float]) -> Get:
    def get(scenario: str, who: str, measure: str) -> float:
        try:
            return choose(found.values[scenario][who][measure])
        except (KeyError, IndexError):
            raise NotMeasuredError(f"{scenario}, {who}") from None

    return get


def _of_round(number: int) -> Callable[[list[float]], float]:
    # What is measured once a run is the same in every round.
    return lambda values: values[0] if len(values) == 1 else values[number]


def _rounds(found: Found) -> int:
    counts = (
        len(values)
        for contestants in found.values.values()
        for measures in contestants.values()
        for values in measures.values()
    )
    return max(counts, default=0)


def ratio(scenario: str, measure: str, over: str, under: str) -> Callable[[Get], float]:
    """Give one contestant's value over another's."""
    return lambda get: get(scenario, over, measure) / get(scenario, under, measure)


def added(scenario: str, other: str) -> Callable[[Get], float]:
    """Give what a gateway adds to the time without it: so many times Easel's."""

    def value(get: Get) -> float:
        alone = get(scenario, DIRECT, "p50")
        ours = get(scenario, EASEL, "p50") - alone
        # The clock's own step: below it nothing is added that could be told.
        return (get(scenario, other, "p50") - alone) / max(ours, 1e-6)

    return value


def _form_cpu(name: str) -> Callable[[Get], float]:
    def value(get: Get) -> float:
        alone = get(FORMS, "base64", "cpu") + get("large-4", RELAY, "cpu")
        return get(FORMS, f"{name}-{LARGE}", "cpu") / alone

    return value


def _plain(scenario: str, who: str, measure: str, unit: float = 1.0) -> Callable[[Get], float]:
    return lambda get: get(scenario, who, measure) / unit


def _small() -> list[Line]:
    lines = []
    for connections in (8, 64):
        scenario, at = f"small-{connections}", f"small answers, {connections} connections"
        lines += [
            Line(
                f"requests per CPU second, {at}: against {NAMES[who]}",
                ratio(scenario, "cpu", who, EASEL),
                bound,
                at_least=True,
                wished=wished,
            )
            for who, bound, wished in ((PORTKEY, 6, 8.0), (LITELLM, 60, None))
        ]
        relay = ratio(scenario, "cpu", EASEL, RELAY)
        lines.append(Line(f"CPU per request, {at}: of the minimal relay's", relay, 1.25))
    return [*lines, Line("p99 over p50, small answers, 64 connections", _tail, 1.8)]


def _tail(get: Get) -> float:
    return get("small-64", EASEL, "p99") / get("small-64", EASEL, "p50")


def _times() -> list[Line]:
    bounds = (
        ("small-1", "added p50, small answers, 1 connection", PORTKEY, 3),
        ("small-1", "added p50, small answers, 1 connection", LITELLM, 35),
        ("medium-1", "added time to the last byte, 1.5 MB", PORTKEY, 14),
        ("large-1", "added time to the last byte, 6 MB", PORTKEY, 35),
    )
    return [
        Line(f"{about}: {NAMES[who]}'s, over Easel's", added(scenario, who), bound, at_least=True)
        for scenario, about, who, bound in bounds
    ]


def _bytes() -> list[Line]:
    at, per_gb = "CPU seconds per GB, 6 MB", "cpu_per_gb"
    return [
        Line(
            f"{at}: {NAMES[who]}'s, over Easel's",
            ratio("large-4", per_gb, who, EASEL),
            bound,
            at_least=True,
        )
        for who, bound in ((PORTKEY, 18), (LITELLM, 9))
    ] + [
        Line(f"{at}: of nginx's", ratio("large-4", per_gb, EASEL, NGINX), 2),
        Line(
            f"{at}: recording, of what it costs to keep nothing",
            ratio("large-4", per_gb, EASEL, KEEPS_NOTHING),
            1.3,
        ),
    ]


def _memory() -> list[Line]:
    return [
        Line(
            "peak memory, 64 x 6 MB to slow readers (90 MB and `jobs.memory_bytes`)",
            _plain(FRESH, EASEL, "peak", _MB),
            90 + _JOBS_MB,
            unit="MB",
        ),
        Line(
            "the same, keeping nothing (90 MB and 1 MB)",
            _plain(FRESH, KEEPS_NOTHING, "peak", _MB),
            91,
            unit="MB",
        ),
        Line(
            "memory that the second half of 1,000 x 6 MB to slow readers adds",
            _plain(CROWD, EASEL, "grown", _MB),
            10,
            unit="MB",
        ),
        Line(
            "peak memory, 1,000 x 6 MB to slow readers: of 64",
            lambda get: get(CROWD, EASEL, "peak") / get(FRESH, EASEL, "peak"),
            1.25,
        ),
        Line(
            "the slowest answer to others meanwhile",
            _plain(CROWD, EASEL, "slowest"),
            1,
            unit="s",
        ),
        Line("start to first answer", _plain(FRESH, EASEL, "start"), 0.4, unit="s"),
        Line("memory, idle", _plain(FRESH, EASEL, "idle", _MB), 50, unit="MB"),
    ]


def _hits() -> list[Line]:
    lines = []
    for scenario, size, bound in (("hit-small", "small", 12), ("hit-medium", "1.5 MB", 40)):
        at = f"CPU of a cache hit, {size}"
        over = ratio(scenario, "cpu", PORTKEY, EASEL)
        lines += [
            Line(f"{at}: Portkey's, over Easel's", over, bound, at_least=True),
            Line(f"{at}: of a static handler's", ratio(scenario, "cpu", EASEL, STATIC), 1.4),
        ]
    return lines


def _forms() -> list[Line]:
    lines = [
        Line("first event, behind the provider's", _first_event, 1.5, unit="ms"),
        Line("streams of which an event was held back", _plain(STREAMS, EASEL, "held"), 0, unit=""),
    ]
    for name, about in (("b64_json", "`b64_json` from a URL"), ("url", "`url` from base64")):
        lines += [
            Line(
                f"{about}, {size}: memory that it adds",
                _plain(FORMS, f"{name}-{which}", "added", _MB),
                1,
                unit="MB",
            )
            for which, size in ((LARGE, "6 MB"), (HUGE, "12 MB"))
        ]
        alone = f"{about}, 6 MB: CPU, of base64 and the minimal relay together"
        lines.append(Line(alone, _form_cpu(name), 2))
    return lines


def _first_event(get: Get) -> float:
    return (get(STREAMS, EASEL, "first") - get(STREAMS, DIRECT, "first")) * 1000


def _growth() -> list[Line]:
    flat = "CPU per request, the most work over the least"
    return [
        Line(
            f"{low:,} to {high:,} {about}: {flat}",
            ratio(scenario, "cpu", str(high), str(low)),
            1.25,
        )
        for scenario, about, low, high in (
            (GROW_KEYS, "virtual keys and configs", KEYS[0], KEYS[-2]),
            (GROW_KEYS, "virtual keys and configs", KEYS[0], KEYS[-1]),
            (GROW_JOBS, "open jobs", OPEN_JOBS[0], OPEN_JOBS[-1]),
            (GROW_CONFIGS, "KB of inline config", CONFIG_KB[0], CONFIG_KB[-1]),
        )
    ]


def _workers() -> list[Line]:
    rate, cpu = (ratio(WORKERS, it, TWO_WORKERS, EASEL) for it in ("rate", "cpu"))
    at = "two workers, small answers, 64 connections"
    shared = "on all cores, which the load generator and the mock provider share"
    return [
        Line(f"{at}: throughput, of one's ({shared})", rate, 1.8, at_least=True),
        Line(f"{at}: CPU per request, of one's", cpu, 1.05),
    ]


LINES = (
    *(*_small(), *_times(), *_bytes(), *_memory(), *_hits(), *_forms()),
    *(*_growth(), *_workers()),
)
