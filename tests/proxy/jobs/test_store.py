"""Which job a request belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.errors import BadRequest, GatewayError, UpstreamFailed
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.job import Job, JobKey
from proxy.jobs.recording import Recording
from proxy.jobs.store import JobStore

FRESH = JobKey("ada", b"d1")
RETRY = JobKey("ada", b"d1", is_retry=True)


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[JobStore]:
    made = JobStore(RecordingBudget(1 << 20, 1 << 20), tmp_path, result_ttl=60)
    yield made
    await made.close()


async def succeed(recording: Recording) -> None:
    recording.begin(200, {})
    await recording.append(b"picture")


async def fail(recording: Recording) -> None:
    del recording
    raise UpstreamFailed("no")


async def run_forever(recording: Recording) -> None:
    recording.begin(200, {})
    await asyncio.Event().wait()


async def wait_ended(job: Job) -> Job:
    assert job.task
    await asyncio.wait([job.task])
    await asyncio.sleep(0)
    return job


async def test_a_fresh_request_is_a_new_image_and_a_retry_is_not(jobs: JobStore) -> None:
    job = jobs.start(FRESH, run_forever)
    assert jobs.find(FRESH) is None
    assert jobs.find(RETRY) is job


async def test_a_retry_collects_what_is_finished(jobs: JobStore) -> None:
    job = await wait_ended(jobs.start(FRESH, succeed))
    assert job.status == "done"
    assert jobs.find(RETRY) is job


async def test_a_retry_does_not_collect_a_failure(jobs: JobStore) -> None:
    job = await wait_ended(jobs.start(FRESH, fail))
    assert job.status == "failed"
    assert jobs.find(RETRY) is None
    assert jobs.get_for_caller("ada", job.id) is job


async def test_a_failure_that_may_have_been_paid_is_told_before_another_job_begins(
    jobs: JobStore,
) -> None:
    async def lost(recording: Recording) -> None:
        await succeed(recording)
        error = UpstreamFailed("lost", code="connection_lost")
        error.headers = {"x-should-retry": "false"}
        raise error

    job = await wait_ended(jobs.start(FRESH, lost))
    assert jobs.find(FRESH) is None
    assert jobs.find(RETRY) is job
    job.failure_reported = True
    assert jobs.find(RETRY) is None


@pytest.mark.parametrize(
    "other", [JobKey("bob", b"d1", is_retry=True), JobKey("ada", b"d2", is_retry=True)]
)
async def test_another_callers_or_another_request_joins_nothing(
    jobs: JobStore, other: JobKey
) -> None:
    job = jobs.start(FRESH, run_forever)
    assert jobs.find(other) is None
    assert jobs.get_for_caller("bob", job.id) is None


async def test_each_of_two_retries_gets_an_image_of_its_own(jobs: JobStore) -> None:
    first, second = [await wait_ended(jobs.start(FRESH, succeed)) for _ in range(2)]
    assert jobs.find(RETRY) is first
    first.deliveries += 1
    assert jobs.find(RETRY) is second


async def test_a_job_whose_client_has_left_comes_first(jobs: JobStore) -> None:
    heard, left = jobs.start(FRESH, run_forever), jobs.start(FRESH, run_forever)
    with heard.subscribe(lambda: True):
        assert jobs.find(RETRY) is left


async def test_a_client_that_has_gone_without_our_having_written_to_it_does_not_count(
    jobs: JobStore,
) -> None:
    first, own = (jobs.start(FRESH, run_forever) for _ in range(2))
    with first.subscribe(lambda: True), own.subscribe(lambda: False):
        assert jobs.find(RETRY) is own


async def test_what_a_job_failed_with_holds_nothing_of_the_request(jobs: JobStore) -> None:
    async def fails(recording: Recording) -> None:
        try:
            await fail(recording)
        except UpstreamFailed as error:
            raise UpstreamFailed("lost") from error

    job = await wait_ended(jobs.start(FRESH, fails))
    failure = job.recording.failure
    assert failure
    assert (failure.__traceback__, failure.__cause__, failure.__context__) == (None, None, None)


async def test_an_equal_request_shares_only_where_it_says_so(jobs: JobStore) -> None:
    job = jobs.start(FRESH, run_forever)
    assert jobs.find(JobKey("ada", b"d1", coalesce=True)) is job
    done = await wait_ended(jobs.start(JobKey("ada", b"d2"), succeed))
    assert jobs.find(JobKey("ada", b"d2", coalesce=True)) is None
    assert done.status == "done"


async def test_a_key_names_one_request(jobs: JobStore) -> None:
    job = jobs.start(JobKey("ada", b"d1", idempotency_key="k"), run_forever)
    assert jobs.find(JobKey("ada", b"d1", idempotency_key="k")) is job
    assert jobs.find(JobKey("ada", b"d1", idempotency_key="other")) is None
    assert jobs.find(JobKey("bob", b"d2", idempotency_key="k")) is None
    with pytest.raises(BadRequest) as caught:
        jobs.find(JobKey("ada", b"d2", idempotency_key="k"))
    assert (caught.value.status, caught.value.code) == (422, "idempotency_key_reused")


async def test_a_key_whose_job_failed_can_be_used_again(jobs: JobStore) -> None:
    asked = JobKey("ada", b"d1", idempotency_key="k")
    await wait_ended(jobs.start(asked, fail))
    assert jobs.find(asked) is None
    again = jobs.start(asked, run_forever)
    assert jobs.find(asked) is again


async def test_what_is_cancelled_says_so(jobs: JobStore) -> None:
    job = jobs.start(FRESH, run_forever)
    await asyncio.sleep(0)
    jobs.remove(job)
    await wait_ended(job)
    assert isinstance(job.recording.failure, GatewayError)
    assert job.recording.failure.code == "job_cancelled"
    assert (len(jobs), jobs.running_count, jobs.find(RETRY)) == (0, 0, None)


async def test_a_job_of_nobody_is_cancelled_where_the_operator_wants_that(tmp_path: Path) -> None:
    jobs = JobStore(
        RecordingBudget(1 << 20, 1 << 20), tmp_path, result_ttl=60, cancel_on_disconnect=True
    )
    job = jobs.start(FRESH, run_forever)
    with job.subscribe(lambda: True), job.subscribe(lambda: True):
        pass
    await wait_ended(job)
    assert isinstance(job.recording.failure, GatewayError)
    assert job.recording.failure.code == "job_cancelled"
    await jobs.close()


async def test_what_nobody_collects_is_forgotten(tmp_path: Path) -> None:
    jobs = JobStore(RecordingBudget(1 << 20, 1 << 20), tmp_path, result_ttl=0.02)
    job = await wait_ended(jobs.start(FRESH, succeed))
    with job.subscribe(lambda: True):
        await asyncio.sleep(0.05)
        assert len(jobs) == 1
    await asyncio.sleep(0.05)
    assert len(jobs) == 0


async def test_each_is_forgotten_in_its_own_time(tmp_path: Path) -> None:
    jobs = JobStore(RecordingBudget(1 << 20, 1 << 20), tmp_path, result_ttl=0.3)
    jobs.remove(await wait_ended(jobs.start(FRESH, succeed)))
    await asyncio.sleep(0.2)
    later = await wait_ended(jobs.start(FRESH, succeed))
    await asyncio.sleep(0.2)
    assert jobs.get_for_caller("ada", later.id) is later
    await asyncio.sleep(0.2)
    assert len(jobs) == 0


async def test_what_outlives_its_time_goes_with_its_last_reader(tmp_path: Path) -> None:
    jobs = JobStore(RecordingBudget(1 << 20, 1 << 20), tmp_path, result_ttl=0)
    job = jobs.start(FRESH, succeed)
    with job.subscribe(lambda: True):
        await wait_ended(job)
        await asyncio.sleep(0.02)
        assert (len(jobs), len(jobs._expirations)) == (1, 0)
    assert len(jobs) == 0


async def restart(folder: Path, disk: int = 1 << 20, seconds: float = 60) -> JobStore:
    """Return the jobs of the next process."""
    jobs = JobStore(RecordingBudget(1 << 20, disk), folder, result_ttl=seconds)
    await jobs.restore()
    return jobs


async def read_all(job: Job) -> bytes:
    return b"".join([piece async for piece in job.recording.chunks()])


def file_names(folder: Path) -> set[str]:
    return {it.name for it in folder.iterdir()} - {"lock"}


async def test_what_is_finished_outlives_the_process(tmp_path: Path) -> None:
    keyed = JobKey("ada", b"d2", idempotency_key="k")
    jobs = await restart(tmp_path)
    first, second = [await wait_ended(jobs.start(asked, succeed)) for asked in (FRESH, keyed)]
    for _ in range(2):
        await jobs.persist()
        assert jobs.unsaved_count == 0
        await jobs.close()
        jobs = await restart(tmp_path)
        found = jobs.find(RETRY)
        assert found
        assert found is jobs.get_for_caller("ada", first.id)
        assert (found.status, found.created_at, await read_all(found)) == (
            "done",
            first.created_at,
            b"picture",
        )
        assert jobs.find(keyed) is jobs.get_for_caller("ada", second.id)
        assert jobs.get_for_caller("bob", first.id) is None
    await jobs.close()


async def test_what_failed_or_still_runs_is_not_kept(tmp_path: Path) -> None:
    jobs = await restart(tmp_path)
    for play in (fail, run_forever):
        await asyncio.wait(
            [asyncio.ensure_future(wait_ended(jobs.start(FRESH, play)))], timeout=0.01
        )
    await jobs.persist()
    assert jobs.unsaved_count == 0
    await jobs.close()
    assert file_names(tmp_path) == set()


async def test_what_nobody_has_got_is_kept_in_place_of_what_somebody_has(tmp_path: Path) -> None:
    jobs = await restart(tmp_path, disk=15)
    waiting, got, also_got, last = [await wait_ended(jobs.start(FRESH, succeed)) for _ in range(4)]
    got.deliveries = also_got.deliveries = 1
    await got.recording.spill()
    await jobs.persist()
    assert [job.persisted for job in (waiting, got, also_got, last)] == [True, False, False, True]
    assert jobs.unsaved_count == 0
    await jobs.close()
    assert len(file_names(tmp_path)) == 4


async def test_a_job_that_is_forgotten_after_a_restart_leaves_nothing(tmp_path: Path) -> None:
    jobs = await restart(tmp_path)
    job = await wait_ended(jobs.start(FRESH, succeed))
    await jobs.persist()
    await jobs.close()
    jobs = await restart(tmp_path)
    jobs.remove(jobs._by_id[job.id])  # noqa: SLF001 - whoever it is
    assert file_names(tmp_path) == set()
    await jobs.close()


async def test_the_time_that_is_left_goes_on_after_a_restart(tmp_path: Path) -> None:
    jobs = await restart(tmp_path, seconds=0.2)
    await wait_ended(jobs.start(FRESH, succeed))
    await jobs.persist()
    await jobs.close()
    jobs = await restart(tmp_path)
    assert jobs.find(RETRY)
    await asyncio.sleep(0.25)
    assert (len(jobs), file_names(tmp_path)) == (0, set())
    await jobs.close()


async def test_what_has_no_room_any_more_is_evicted_at_the_start(tmp_path: Path) -> None:
    jobs = await restart(tmp_path)
    _, newer = [await wait_ended(jobs.start(FRESH, succeed)) for _ in range(2)]
    await jobs.persist()
    await jobs.close()
    jobs = await restart(tmp_path, disk=10)
    assert [len(jobs), jobs.get_for_caller("ada", newer.id) is None] == [1, False]
    await jobs.close()
    await (await restart(tmp_path, disk=0)).close()
    assert file_names(tmp_path) == set()


async def test_without_a_disk_nothing_is_kept_and_nothing_is_made(tmp_path: Path) -> None:
    jobs = await restart(tmp_path / "jobs", disk=0)
    await wait_ended(jobs.start(FRESH, succeed))
    await jobs.persist()
    assert (jobs.unsaved_count, (tmp_path / "jobs").exists()) == (1, False)
    await jobs.close()


async def test_a_folder_that_cannot_be_used_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    jobs = await restart(tmp_path / "file" / "jobs")
    job = await wait_ended(jobs.start(FRESH, succeed))
    for _ in range(2):
        await jobs.persist()
    assert (jobs.find(RETRY), jobs.unsaved_count, len(caplog.records)) == (job, 1, 1)
    await jobs.close()


async def test_a_disk_that_fails_in_the_end_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = await restart(tmp_path)
    job = await wait_ended(jobs.start(FRESH, succeed))
    (tmp_path / job.id).mkdir()
    for _ in range(2):
        await jobs.persist()
    assert (jobs.unsaved_count, len(caplog.records)) == (1, 1)
    await jobs.close()


async def test_a_job_forgotten_while_it_is_kept_leaves_nothing(tmp_path: Path) -> None:
    jobs = await restart(tmp_path)
    for rounds in range(6):
        job = await wait_ended(jobs.start(FRESH, succeed))
        keeping = asyncio.ensure_future(jobs.persist())
        for _ in range(rounds):
            await asyncio.sleep(0.0005)
        jobs.remove(job)
        await keeping
        assert file_names(tmp_path) == set()
    await jobs.close()


async def test_a_header_that_cannot_be_written_costs_only_its_own_job(tmp_path: Path) -> None:
    async def odd(recording: Recording) -> None:
        recording.begin(200, {"x-odd": "\udc80"})
        await recording.append(b"picture")

    jobs = await restart(tmp_path)
    plain, strange = [await wait_ended(jobs.start(FRESH, play)) for play in (succeed, odd)]
    await jobs.persist()
    assert (plain.persisted, strange.persisted, jobs.unsaved_count) == (True, False, 1)
    await jobs.close()
    assert file_names(tmp_path) == {plain.id, f"{plain.id}.json"}
