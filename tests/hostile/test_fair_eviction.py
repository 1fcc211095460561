"""One caller fills the room for stored results: it evicts its own results, not another caller's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.errors import ProviderError
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.job import Job, JobKey
from proxy.jobs.recording import Recording
from proxy.jobs.store import JobStore

MB = 1 << 20


def job_store(folder: Path, memory: int = MB, disk: int = 0, per_job: int = 0) -> JobStore:
    return JobStore(RecordingBudget(memory, disk, per_job), folder, result_ttl=60)


async def run(jobs: JobStore, caller: str, size: int, *, fails: bool = False) -> Job:
    async def work(recording: Recording) -> None:
        if fails:
            raise ProviderError("No.")
        recording.begin(200, {})
        await recording.append(bytes(size))

    job = jobs.start(JobKey(caller, b"d" * 32), work)
    assert job.task
    await asyncio.wait([job.task])
    await asyncio.sleep(0)
    return job


@pytest.mark.parametrize("disk", [0, MB])
async def test_a_callers_flood_evicts_its_own_results(tmp_path: Path, disk: int) -> None:
    jobs = job_store(tmp_path, disk=disk)
    kept = await run(jobs, "one", MB // 4)
    for _ in range(16):
        await run(jobs, "two", MB // 4)
    assert jobs.has(kept.id)
    assert jobs.bytes_in_memory <= MB
    await jobs.close()


async def test_a_flood_of_small_jobs_evicts_its_own(tmp_path: Path) -> None:
    jobs = job_store(tmp_path, memory=100_000, per_job=1000)
    kept = await run(jobs, "one", 10)
    for _ in range(300):
        await run(jobs, "two", 1)
    assert jobs.has(kept.id)
    assert len(jobs) <= 51
    await jobs.close()


async def test_what_waits_for_its_client_outlives_failures_of_anybody(tmp_path: Path) -> None:
    jobs = job_store(tmp_path, memory=100_000, per_job=1000)
    kept = [await run(jobs, "one", 10) for _ in range(20)]
    for _ in range(300):
        await run(jobs, "two", 0, fails=True)
        await run(jobs, "one", 0, fails=True)
    assert all(jobs.has(it.id) for it in kept)
    await jobs.close()


async def test_a_caller_alone_has_all_of_it_oldest_first(tmp_path: Path) -> None:
    jobs = job_store(tmp_path)
    stored = [await run(jobs, "one", MB // 4) for _ in range(8)]
    assert [jobs.has(it.id) for it in stored] == [False] * 4 + [True] * 4
    await jobs.close()


@pytest.mark.parametrize("disk", [16 * MB, 4 * MB])
async def test_a_flood_that_fits_on_disk_evicts_no_delivered_result_of_another(
    tmp_path: Path, disk: int
) -> None:
    jobs = job_store(tmp_path, disk=disk)
    small = [await run(jobs, "one", 1000) for _ in range(3)]
    for it in small:
        it.deliveries = 1
        jobs._budget.mark_delivered(it)
    for number in range(16):
        flood = await run(jobs, "two", MB // 4)
        if number % 2:
            flood.deliveries = 1
            jobs._budget.mark_delivered(flood)
    assert all(jobs.has(it.id) for it in small)
    assert jobs.bytes_in_memory <= MB
    await jobs.close()
