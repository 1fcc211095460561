"""Circuit breakers that several processes share.

Each process decides by its own copy, without waiting for the store. A few times a second it adds
its counts to the store and reads those of the others. A circuit that one process has opened, or
closed after its trial, is open or closed for all. Each process makes its own trial.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Self

import msgspec

from proxy.routing.circuit_breaker import LocalCircuitBreakers, threshold_exceeded
from proxy.settings.policies import BreakerPolicy
from proxy.state.background import run_supervised
from proxy.state.ops import CompareAndSet, Get, StateStore, StoreUnavailable

_KEY = "circuits"
_SYNC_SECONDS = 0.3
_UNAVAILABLE_RETRY_SECONDS = 1.0
_TTL_SECONDS = 86_400.0
_MAX_SHARED_CIRCUITS = 1000
_MAX_SWAPS = 5


class _SharedCircuit(msgspec.Struct, array_like=True):
    """The counts of all processes for a circuit; times are seconds since the epoch."""

    failures: int = 0
    total: int = 0
    counting_since: float = 0.0
    open_until: float = 0.0
    cooldown: float = 0.0


class _LocalCounts(msgspec.Struct):
    """The counts of this process for a circuit since the last synchronization."""

    policy: BreakerPolicy
    failures: int = 0
    total: int = 0
    trial_succeeded: bool | None = None


class SharedCircuitBreakers(LocalCircuitBreakers):
    """Circuits that are synchronized with other processes, for the duration of a context."""

    def __init__(
        self,
        store: StateStore,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._store = store
        self._now = now
        self._pending: dict[str, _LocalCounts] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(run_supervised("circuits", self._sync_loop))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    def on_result(self, name: str, policy: BreakerPolicy, status: int | None) -> None:
        """Record a request's status: here immediately, for other processes at the next sync."""
        before = self.open_until(name)
        super().on_result(name, policy, status)
        if status is None:
            return
        if name not in self._pending and len(self._pending) >= _MAX_SHARED_CIRCUITS:
            return  # The store is unavailable: this process's own circuits still work.
        own = self._pending.setdefault(name, _LocalCounts(policy))
        failed = policy.is_failure(status)
        own.failures += failed
        own.total += 1
        if before and (after := self.open_until(name)) != before:
            own.trial_succeeded = not after

    async def sync(self) -> None:
        """Add this process's counts to the store, and apply the state of the others.

        Raises `StoreUnavailable`; the counts are then added later.
        """
        for _ in range(_MAX_SWAPS):
            (old,) = await self._store.execute(Get(_KEY))
            common = _decode(old)
            own, self._pending = self._pending, {}
            for name, counted in own.items():
                self._merge(common, name, counted)
            swapped = not own
            try:
                if own:
                    swap = CompareAndSet(_KEY, old, _encode(common, self._now()), _TTL_SECONDS)
                    (swapped,) = await self._store.execute(swap)
            finally:
                if not swapped:
                    self._pending = _merge_counts(own, self._pending)
            if swapped:
                self._apply(common)
                return

    async def _sync_loop(self) -> None:
        while True:
            pause = _SYNC_SECONDS
            try:
                await self.sync()
            except StoreUnavailable:
                pause = _UNAVAILABLE_RETRY_SECONDS
            await asyncio.sleep(pause)

    def _merge(self, common: dict[str, _SharedCircuit], name: str, own: _LocalCounts) -> None:
        """Add this process's counts to the shared ones; open or close the circuit accordingly."""
        now, cooldown = self._now(), own.policy.cooldown_interval / 1000
        found = common.setdefault(name, _SharedCircuit(counting_since=now, cooldown=cooldown))
        if own.trial_succeeded is not None:
            common[name] = _SharedCircuit(
                counting_since=now,
                cooldown=cooldown,
                open_until=0.0 if own.trial_succeeded else now + cooldown,
            )
            return
        if now - found.counting_since > cooldown:
            found.failures, found.total, found.counting_since = 0, 0, now
        found.failures += own.failures
        found.total += own.total
        if not found.open_until and threshold_exceeded(own.policy, found.failures, found.total):
            found.open_until = now + cooldown

    def _apply(self, common: dict[str, _SharedCircuit]) -> None:
        shift = self._clock() - self._now()
        is_open = {name: it.open_until + shift for name, it in common.items() if it.open_until}
        pending = self._pending
        for name in [*self.open_circuits(), *is_open]:
            if name not in pending:
                self.set_open_until(name, is_open.get(name, 0.0))


def _decode(data: bytes | None) -> dict[str, _SharedCircuit]:
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.msgpack.decode(data or b"\x80", type=dict[str, _SharedCircuit])
    return {}


def _encode(common: dict[str, _SharedCircuit], now: float) -> bytes:
    """Encode the relevant circuits: open ones, and those that counted last."""
    counting = {
        name: it
        for name, it in common.items()
        if it.open_until or now - it.counting_since <= it.cooldown
    }
    newest = sorted(
        counting, key=lambda name: (counting[name].open_until > 0, counting[name].counting_since)
    )
    return msgspec.msgpack.encode({name: counting[name] for name in newest[-_MAX_SHARED_CIRCUITS:]})


def _merge_counts(
    first: dict[str, _LocalCounts], then: dict[str, _LocalCounts]
) -> dict[str, _LocalCounts]:
    for name, own in then.items():
        if known := first.get(name):
            known.failures += own.failures
            known.total += own.total
            known.trial_succeeded = (
                own.trial_succeeded if own.trial_succeeded is not None else known.trial_succeeded
            )
        else:
            first[name] = own
    return first
