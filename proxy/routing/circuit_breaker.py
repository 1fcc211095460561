"""The circuit breaker: targets that keep failing are skipped for a while.

closed      requests pass; successes and failures are counted
open        the target is skipped until its cooldown has passed
half-open   one trial request is sent: a success closes the circuit, a failure opens it again

Source: https://portkey.ai/docs/product/ai-gateway/circuit-breaker. There a circuit closes when its
cooldown has passed. The single trial is an addition, so that a target that is still down costs one
request and not a burst of them. Counts restart after each cooldown interval, so that failures of
last week do not add to those of today.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cachetools import LRUCache

from proxy.settings.policies import BreakerPolicy

_MAX_CIRCUITS = 10_000
_MAX_TRIAL_SECONDS = 900.0


class CircuitBreakers(Protocol):
    """The circuits by name: in this process's memory, or in a store that nodes share."""

    def is_open(self, name: str) -> bool:
        """Return whether a target must be skipped now."""

    def on_start(self, name: str) -> None:
        """Record that a request is sent to a target: the trial, if its circuit is half-open."""

    def on_result(self, name: str, policy: BreakerPolicy, status: int | None) -> None:
        """Record a request's status; None: nothing is known, only the trial is over."""

    def states(self) -> dict[str, str]:
        """Return the state of every circuit that is not closed."""


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    total: int = 0
    counting_since: float = 0.0
    open_until: float = 0.0
    trial_until: float = 0.0

    @property
    def has_opened(self) -> bool:
        return self.open_until > 0


class LocalCircuitBreakers:
    """Circuits of this process, in memory; the least recently used are evicted first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._circuits: LRUCache[str, _Circuit] = LRUCache(_MAX_CIRCUITS)

    def is_open(self, name: str) -> bool:
        """Return whether a target must be skipped now."""
        circuit = self._circuits.get(name)
        if circuit is None or not circuit.has_opened:
            return False
        now = self._clock()
        return now < circuit.open_until or now < circuit.trial_until

    def on_start(self, name: str) -> None:
        """Record that a request is sent to a target: the trial, if its circuit is half-open."""
        circuit = self._circuits.get(name)
        if circuit and circuit.has_opened and self._clock() >= circuit.open_until:
            circuit.trial_until = self._clock() + _MAX_TRIAL_SECONDS

    def on_result(self, name: str, policy: BreakerPolicy, status: int | None) -> None:
        """Record a request's status, and open or close the circuit accordingly.

        None: nothing is known about the target; the next request may be the trial.
        """
        if status is None:
            if name in self._circuits:
                self._circuits[name].trial_until = 0.0
            return
        now, cooldown = self._clock(), policy.cooldown_interval / 1000
        circuit = self._circuits.get(name) or _Circuit(counting_since=now)
        self._circuits[name] = circuit
        failed = policy.is_failure(status)
        if circuit.has_opened and now >= circuit.open_until:
            fresh = _Circuit(counting_since=now, open_until=now + cooldown if failed else 0.0)
            self._circuits[name] = fresh
            return
        if now - circuit.counting_since > cooldown:
            circuit.failures, circuit.total, circuit.counting_since = 0, 0, now
        circuit.failures += failed
        circuit.total += 1
        if threshold_exceeded(policy, circuit.failures, circuit.total) and not circuit.has_opened:
            circuit.open_until = now + cooldown

    def open_circuits(self) -> dict[str, float]:
        """Return until when each circuit that is not closed is or was open."""
        return {
            name: circuit.open_until
            for name, circuit in self._circuits.items()
            if circuit.has_opened
        }

    def open_until(self, name: str) -> float:
        """Return until when a circuit is or was open; 0 if it is closed."""
        circuit = self._circuits.get(name)
        return circuit.open_until if circuit else 0.0

    def set_open_until(self, name: str, until: float) -> None:
        """Open a circuit until a time, as another process did; 0 closes it."""
        circuit = self._circuits.get(name)
        if circuit and circuit.open_until != until:
            circuit.open_until = until
            circuit.trial_until = 0.0
            if not until:
                circuit.failures = circuit.total = 0
        elif circuit is None and until:
            self._circuits[name] = _Circuit(counting_since=self._clock(), open_until=until)

    def states(self) -> dict[str, str]:
        """Return the state of every circuit that is not closed: `open` or `half-open`."""
        now = self._clock()
        return {
            name: "open" if now < circuit.open_until else "half-open"
            for name, circuit in self._circuits.items()
            if circuit.has_opened
        }


def threshold_exceeded(policy: BreakerPolicy, failures: int, total: int) -> bool:
    """Return whether the failures so far open a circuit."""
    if policy.failure_threshold is not None and failures > policy.failure_threshold:
        return True
    if policy.failure_threshold_percentage is None or total < policy.minimum_requests:
        return False
    return failures * 100 > policy.failure_threshold_percentage * total
