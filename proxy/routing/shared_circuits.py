"""Circuits that several processes have in common.

Each decides by what it knows, without waiting for anybody. A few times a second it tells the others
what it has counted, and hears what they have: their counts add up, and a circuit that one has
opened, or closed after its trial, is so for all. Each process has a trial of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Self

import msgspec

from proxy.routing.circuit_breaker import LocalCircuits, is_too_much
from proxy.settings.policies import BreakerPolicy
from proxy.state.ops import Get, Shared, SharedAway, Swap

_KEY = "circuits"
_EVERY_SECONDS = 0.3
_AWAY_SECONDS = 1.0
_KEPT_SECONDS = 86_400.0
_MOST = 1000
_TRIES = 5


class _Common(msgspec.Struct, array_like=True):
    """What all processes together know of a circuit; seconds since the epoch."""

    failures: int = 0
    total: int = 0
    since: float = 0.0
    until: float = 0.0
    cooldown: float = 0.0


class _Own(msgspec.Struct):
    """What this process has counted of a circuit since it last told the others."""

    policy: BreakerPolicy
    failures: int = 0
    total: int = 0
    trial: bool | None = None


class SharedCircuits(LocalCircuits):
    """Circuits of this process and of others; run as a context."""

    def __init__(
        self,
        shared: Shared,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._shared = shared
        self._now = now
        self._own: dict[str, _Own] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._telling())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    def settled(self, name: str, policy: BreakerPolicy, status: int | None) -> None:
        """Count how a request ended, here at once and for the others soon."""
        before = self.until(name)
        super().settled(name, policy, status)
        if status is None:
            return
        own = self._own.setdefault(name, _Own(policy))
        failed = policy.is_failure(status)
        own.failures += failed
        own.total += 1
        if before and (after := self.until(name)) != before:
            own.trial = not after

    async def tell(self) -> None:
        """Tell the others what was counted here, and take over what they know.

        Raises `SharedAway`: then it is told later.
        """
        for _ in range(_TRIES):
            (old,) = await self._shared.ask(Get(_KEY))
            common = _read(old)
            own, self._own = self._own, {}
            for name, counted in own.items():
                self._add(common, name, counted)
            swapped = not own
            try:
                if own:
                    swap = Swap(_KEY, old, _written(common, self._now()), _KEPT_SECONDS)
                    (swapped,) = await self._shared.ask(swap)
            finally:
                if not swapped:
                    self._own = _joined(own, self._own)
            if swapped:
                self._take_over(common)
                return

    async def _telling(self) -> None:
        while True:
            pause = _EVERY_SECONDS
            try:
                await self.tell()
            except SharedAway:
                pause = _AWAY_SECONDS
            await asyncio.sleep(pause)

    def _add(self, common: dict[str, _Common], name: str, own: _Own) -> None:
        """Add to what all know what was counted here, and open or close the circuit by it."""
        now, cooldown = self._now(), own.policy.cooldown_interval / 1000
        found = common.setdefault(name, _Common(since=now, cooldown=cooldown))
        if own.trial is not None:
            common[name] = _Common(
                since=now, cooldown=cooldown, until=0.0 if own.trial else now + cooldown
            )
            return
        if now - found.since > cooldown:
            found.failures, found.total, found.since = 0, 0, now
        found.failures += own.failures
        found.total += own.total
        if not found.until and is_too_much(own.policy, found.failures, found.total):
            found.until = now + cooldown

    def _take_over(self, common: dict[str, _Common]) -> None:
        shift = self._clock() - self._now()
        is_open = {name: it.until + shift for name, it in common.items() if it.until}
        told = self._own
        for name in [*self.opened(), *is_open]:
            if name not in told:
                self.open_until(name, is_open.get(name, 0.0))


def _read(data: bytes | None) -> dict[str, _Common]:
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.msgpack.decode(data or b"\x80", type=dict[str, _Common])
    return {}


def _written(common: dict[str, _Common], now: float) -> bytes:
    """Write down those circuits that matter: open ones, and the latest that count."""
    counting = {
        name: it for name, it in common.items() if it.until or now - it.since <= it.cooldown
    }
    newest = sorted(counting, key=lambda name: (counting[name].until > 0, counting[name].since))
    return msgspec.msgpack.encode({name: counting[name] for name in newest[-_MOST:]})


def _joined(first: dict[str, _Own], then: dict[str, _Own]) -> dict[str, _Own]:
    for name, own in then.items():
        if known := first.get(name):
            known.failures += own.failures
            known.total += own.total
            known.trial = own.trial if own.trial is not None else known.trial
        else:
            first[name] = own
    return first
