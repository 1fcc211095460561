"""The targets: ratios within one run, each with a bound.

A target is computed from medians, and for each round separately to show the spread.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from .bench import Measurements
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
from .responses import HUGE, LARGE
from .scenarios import CROWD, FORMS, FRESH, STREAMS, WORKERS

_MB = 1e6
_JOBS_MB = 268.4
"""The default of `jobs.memory_bytes`."""


class NotMeasuredError(Exception):
    """A value was not measured in this run."""


Get = Callable[[str, str, str], float]
"""Returns a value by scenario, contestant and measure; raises `NotMeasuredError`."""


@dataclass(frozen=True)
class Line:
    """A target: a value and its upper bound, or with `at_least` its lower bound."""

    about: str
    value: Callable[[Get], float]
    bound: float
    at_least: bool = False
    unit: str = "x"
    preferred: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether a value meets the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Outcome:
    """The result of a target: the median, and the minimum and maximum of the rounds."""

    line: Line
    value: float
    low: float
    high: float


def outcome(line: Line, measurements: Measurements) -> Outcome:
    """Compute a target; raise `NotMeasuredError`."""
    value = line.value(_from(measurements, statistics.median))
    rounds = []
    for number in range(_rounds(measurements)):
        try:
            rounds.append(line.value(_from(measurements, _of_round(number))))
        except NotMeasuredError:
            continue
    return Outcome(line, value, min(rounds, default=value), max(rounds, default=value))


def _from(measurements: Measurements, choose: Callable[[list[float]], float]) -> Get:
    def get(scenario: str, who: str, measure: str) -> float:
        try:
            return choose(measurements.values[scenario][who][measure])
        except (KeyError, IndexError):
            raise NotMeasuredError(f"{scenario}, {who}") from None

    return get


def _of_round(number: int) -> Callable[[list[float]], float]:
    # A value that is measured once per run counts for every round.
    return lambda values: values[0] if len(values) == 1 else values[number]


def _rounds(measurements: Measurements) -> int:
    counts = (
        len(values)
        for contestants in measurements.values.values()
        for measures in contestants.values()
        for values in measures.values()
    )
    return max(counts, default=0)


def ratio(scenario: str, measure: str, over: str, measure_server: str) -> Callable[[Get], float]:
    """Return a function for the ratio of two contestants' values."""
    return lambda get: get(scenario, over, measure) / get(scenario, measure_server, measure)


def added(scenario: str, other: str) -> Callable[[Get], float]:
    """Return a function for the latency added by a gateway, as a multiple of Easel's."""

    def value(get: Get) -> float:
        alone = get(scenario, DIRECT, "p50")
        ours = get(scenario, EASEL, "p50") - alone
        # The resolution of the clock.
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
        scenario, at = f"small-{connections}", f"small responses, {connections} connections"
        lines += [
            Line(
                f"requests per CPU second, {at}: Easel to {NAMES[who]}",
                ratio(scenario, "cpu", who, EASEL),
                bound,
                at_least=True,
                preferred=preferred,
            )
            for who, bound, preferred in ((PORTKEY, 6, 8.0), (LITELLM, 60, None))
        ]
        relay = ratio(scenario, "cpu", EASEL, RELAY)
        lines.append(Line(f"CPU per request, {at}: Easel to the minimal relay", relay, 1.25))
    return [*lines, Line("p99 over p50, small responses, 64 connections", _tail, 1.8)]


def _tail(get: Get) -> float:
    return get("small-64", EASEL, "p99") / get("small-64", EASEL, "p50")


def _times() -> list[Line]:
    bounds = (
        ("small-1", "added p50, small responses, 1 connection", PORTKEY, 3),
        ("small-1", "added p50, small responses, 1 connection", LITELLM, 35),
        ("medium-1", "added time to the last byte, 1.5 MB", PORTKEY, 14),
        ("large-1", "added time to the last byte, 6 MB", PORTKEY, 35),
    )
    return [
        Line(f"{about}: {NAMES[who]} to Easel", added(scenario, who), bound, at_least=True)
        for scenario, about, who, bound in bounds
    ]


def _bytes() -> list[Line]:
    at, per_gb = "CPU seconds per GB, 6 MB", "cpu_per_gb"
    return [
        Line(
            f"{at}: {NAMES[who]} to Easel",
            ratio("large-4", per_gb, who, EASEL),
            bound,
            at_least=True,
        )
        for who, bound in ((PORTKEY, 18), (LITELLM, 9))
    ] + [
        Line(f"{at}: Easel to nginx", ratio("large-4", per_gb, EASEL, NGINX), 2),
        Line(
            f"{at}: with to without stored results",
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
            "the same without stored results (90 MB and 1 MB)",
            _plain(FRESH, KEEPS_NOTHING, "peak", _MB),
            91,
            unit="MB",
        ),
        Line(
            "memory growth in the second half of 1,000 x 6 MB to slow readers",
            _plain(CROWD, EASEL, "grown", _MB),
            10,
            unit="MB",
        ),
        Line(
            "peak memory, 1,000 x 6 MB to slow readers: ratio to 64",
            lambda get: get(CROWD, EASEL, "peak") / get(FRESH, EASEL, "peak"),
            1.25,
        ),
        Line(
            "slowest response to other clients meanwhile",
            _plain(CROWD, EASEL, "slowest"),
            1,
            unit="s",
        ),
        Line("start to first response", _plain(FRESH, EASEL, "start"), 0.4, unit="s"),
        Line("idle memory", _plain(FRESH, EASEL, "idle", _MB), 50, unit="MB"),
    ]


def _hits() -> list[Line]:
    lines = []
    for scenario, size, bound in (("hit-small", "small", 12), ("hit-medium", "1.5 MB", 40)):
        at = f"CPU of a cache hit, {size}"
        over = ratio(scenario, "cpu", PORTKEY, EASEL)
        lines += [
            Line(f"{at}: Portkey to Easel", over, bound, at_least=True),
            Line(f"{at}: Easel to a static handler", ratio(scenario, "cpu", EASEL, STATIC), 1.4),
        ]
    return lines


def _forms() -> list[Line]:
    lines = [
        Line("latency of the first event", _first_event, 1.5, unit="ms"),
        Line("streams with an event held back", _plain(STREAMS, EASEL, "held"), 0, unit=""),
    ]
    for name, about in (("b64_json", "`b64_json` from a URL"), ("url", "`url` from base64")):
        lines += [
            Line(
                f"{about}, {size}: added memory",
                _plain(FORMS, f"{name}-{which}", "added", _MB),
                1,
                unit="MB",
            )
            for which, size in ((LARGE, "6 MB"), (HUGE, "12 MB"))
        ]
        alone = f"{about}, 6 MB: CPU, ratio to base64 and the minimal relay together"
        lines.append(Line(alone, _form_cpu(name), 2))
    return lines


def _first_event(get: Get) -> float:
    return (get(STREAMS, EASEL, "first") - get(STREAMS, DIRECT, "first")) * 1000


def _growth() -> list[Line]:
    flat = "CPU per request, largest to smallest"
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
    at = "two workers, small responses, 64 connections"
    shared = "on all cores, shared with the load generator and the mock provider"
    return [
        Line(f"{at}: throughput, ratio to one ({shared})", rate, 1.8, at_least=True),
        Line(f"{at}: CPU per request, ratio to one", cpu, 1.05),
    ]


LINES = (
    *(*_small(), *_times(), *_bytes(), *_memory(), *_hits(), *_forms()),
    *(*_growth(), *_workers()),
)
