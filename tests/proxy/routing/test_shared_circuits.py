"""Circuits of several processes are synchronized."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from proxy.routing.shared_circuits import SharedCircuitBreakers
from proxy.settings.policies import BreakerPolicy
from proxy.state.memory import MemoryStore
from proxy.state.ops import CompareAndSet, Get, Op, Set, StoreUnavailable

COUNT = BreakerPolicy(failure_threshold=2, cooldown_interval=30_000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def processes(count: int, shared: Any = None) -> tuple[Clock, list[SharedCircuitBreakers]]:
    """Return the circuits of processes whose clocks have different offsets."""
    clock, memory = Clock(), shared or MemoryStore()

    def began(at: float) -> Any:
        return lambda: clock.now - at

    return clock, [SharedCircuitBreakers(memory, began(300.0 * i), clock) for i in range(count)]


async def sync_all(*all_of_them: SharedCircuitBreakers) -> None:
    for it in (*all_of_them, *all_of_them):
        await it.sync()


def record_failures(circuits: SharedCircuitBreakers, times: int) -> None:
    for _ in range(times):
        circuits.on_result("c", COUNT, 503)


async def test_what_one_opens_is_open_for_all_and_half_open_at_the_same_time() -> None:
    clock, (one, two) = processes(2)
    record_failures(one, 3)
    await sync_all(one, two)
    assert two.is_open("c")
    clock.now += 29.9
    assert two.is_open("c")
    clock.now += 0.2
    assert (two.states(), one.states()) == ({"c": "half-open"}, {"c": "half-open"})


async def test_failures_of_all_add_up() -> None:
    _, all_of_them = processes(3)
    for it in all_of_them:
        record_failures(it, 1)
    assert not any(it.is_open("c") for it in all_of_them)
    await sync_all(*all_of_them)
    assert all(it.is_open("c") for it in all_of_them)


async def test_a_trial_that_succeeds_closes_it_for_all() -> None:
    clock, (one, two) = processes(2)
    record_failures(one, 3)
    await sync_all(one, two)
    clock.now += 31
    two.on_start("c")
    two.on_result("c", COUNT, 200)
    await sync_all(two, one)
    assert (one.states(), two.states()) == ({}, {})


async def test_a_trial_that_fails_opens_it_again_for_all() -> None:
    clock, (one, two) = processes(2)
    record_failures(one, 3)
    await sync_all(one, two)
    clock.now += 31
    two.on_start("c")
    record_failures(two, 1)
    await sync_all(two, one)
    assert one.is_open("c")
    clock.now += 29
    assert one.is_open("c")


async def test_failures_of_long_ago_do_not_add_up() -> None:
    clock, (one, two) = processes(2)
    record_failures(one, 2)
    await sync_all(one, two)
    clock.now += 31
    record_failures(two, 1)
    await sync_all(two, one)
    assert (one.states(), two.states()) == ({}, {})


class Contended(MemoryStore):
    """A store with a concurrent writer before each swap, or that is unavailable."""

    is_away = False

    async def execute(self, *ops: Op) -> Sequence[Any]:
        if self.is_away:
            raise StoreUnavailable
        if isinstance(ops[0], CompareAndSet):
            self.execute_now([Set(ops[0].key, b"\x80", 60)])
        return self.execute_now(ops)


async def test_what_cannot_be_told_now_is_told_later() -> None:
    memory = Contended()
    _, (one, two) = processes(2, memory)
    memory.is_away = True
    record_failures(one, 3)
    with pytest.raises(StoreUnavailable):
        await one.sync()
    assert one.is_open("c")
    memory.is_away = False
    await sync_all(one, two)
    assert two.is_open("c")


async def test_what_cannot_be_read_is_begun_anew() -> None:
    memory = MemoryStore()
    await memory.execute(Set("circuits", b"\xff\x00", 60))
    _, (one, two) = processes(2, memory)
    record_failures(one, 3)
    await sync_all(one, two)
    assert two.is_open("c")


async def test_of_many_circuits_the_open_ones_are_kept() -> None:
    memory = MemoryStore()
    clock, (one, two) = processes(2, memory)
    record_failures(one, 3)
    await one.sync()
    clock.now += 1
    for number in range(3000):
        one.on_result(str(number), COUNT, 503)
    await sync_all(one, two)
    assert two.is_open("c")
    (kept,) = await memory.execute(Get("circuits"))
    assert len(kept) < 100_000


async def test_it_tells_by_itself() -> None:
    memory = MemoryStore()
    one, two = SharedCircuitBreakers(memory), SharedCircuitBreakers(memory)
    async with one, two:
        record_failures(one, 3)
        async with asyncio.timeout(20):
            while not two.is_open("c"):  # noqa: ASYNC110 - two tasks bring it about
                await asyncio.sleep(0.02)
