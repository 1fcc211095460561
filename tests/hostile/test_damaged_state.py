"""Damaged items in the shared state are skipped, and no background task ends unnoticed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from proxy.jobs.budget import RecordingBudget
from proxy.jobs.directory import DirectoryLimits, JobDirectory, _hashed_key
from proxy.jobs.job import JobKey
from proxy.jobs.store import JobStore
from proxy.routing import shared_circuits
from proxy.routing.shared_circuits import SharedCircuitBreakers
from proxy.settings.policies import BreakerPolicy
from proxy.state.background import run_supervised
from proxy.state.memory import MemoryStore
from proxy.state.ops import Append

DAMAGED = [b"\xc1", b"", b"\x00", msgspec.msgpack.encode(["cancel"]), b"\xff" * 99]


def directory(store: MemoryStore, folder: Path) -> JobDirectory:
    jobs = JobStore(RecordingBudget(1 << 20, 0), folder, result_ttl=60)
    return JobDirectory(store, jobs, DirectoryLimits(9, 60))


async def test_damaged_actions_are_skipped_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    ours = directory(store, tmp_path)
    inbox = f"actions:{ours.process_id}"
    await store.execute(*(Append(inbox, it, 60, 99) for it in DAMAGED))
    await ours.request_action(ours.process_id, "job", "cancel")
    assert (await ours.heartbeat())[1] == [("cancel", "job")]
    assert ours.damaged_items == len(DAMAGED)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("item", DAMAGED)
async def test_a_damaged_job_id_is_no_job(tmp_path: Path, item: bytes) -> None:
    store, key = MemoryStore(), JobKey("one", b"d" * 32, is_retry=True)
    ours = directory(store, tmp_path)
    await store.execute(Append(_hashed_key("same", key.caller, key.digest), item, 60, 99))
    assert await ours.claim_abandoned(key) == ""


async def test_a_background_task_that_fails_is_logged_and_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = 0

    async def fail_twice() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("secret")

    await run_supervised("a task", fail_twice, pause=0)
    assert (runs, len(caplog.messages)) == (3, 2)
    assert "secret" not in caplog.text


async def test_a_supervised_task_can_be_cancelled() -> None:
    task = asyncio.create_task(run_supervised("a task", asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_counts_of_circuits_are_bounded_while_the_store_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_circuits, "_MAX_SHARED_CIRCUITS", 10)
    circuits = SharedCircuitBreakers(MemoryStore())
    policy = BreakerPolicy(failure_threshold=3, cooldown_interval=30_000)
    for number in range(100):
        circuits.on_result(f"c{number}", policy, 500)
    assert len(circuits._pending) == 10
