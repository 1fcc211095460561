"""Which job a request belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.errors import BadRequest, GatewayError, UpstreamFailed
from proxy.jobs.budget import Shelf
from proxy.jobs.job import Asked, Job
from proxy.jobs.recording import Tape
from proxy.jobs.store import Jobs

FRESH = Asked("ada", b"d1")
RETRY = Asked("ada", b"d1", retry=True)


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[Jobs]:
    made = Jobs(Shelf(1 << 20, 1 << 20), tmp_path, park_seconds=60)
    yield made
    await made.close()


async def good(tape: Tape) -> None:
    tape.begin(200, {})
    await tape.append(b"picture")


async def bad(tape: Tape) -> None:
    del tape
    raise UpstreamFailed("no")


async def endless(tape: Tape) -> None:
    tape.begin(200, {})
    await asyncio.Event().wait()


async def ended(job: Job) -> Job:
    assert job.task
    await asyncio.wait([job.task])
    await asyncio.sleep(0)
    return job


async def test_a_fresh_request_is_a_new_picture_and_a_retry_is_not(jobs: Jobs) -> None:
    job = jobs.begin(FRESH, endless)
    assert jobs.found(FRESH) is None
    assert jobs.found(RETRY) is job


async def test_a_retry_collects_what_is_finished(jobs: Jobs) -> None:
    job = await ended(jobs.begin(FRESH, good))
    assert job.status == "done"
    assert jobs.found(RETRY) is job


async def test_a_retry_does_not_collect_a_failure(jobs: Jobs) -> None:
    job = await ended(jobs.begin(FRESH, bad))
    assert job.status == "failed"
    assert jobs.found(RETRY) is None
    assert jobs.of("ada", job.id) is job


async def test_a_failure_that_may_have_been_paid_is_told_before_another_job_begins(
    jobs: Jobs,
) -> None:
    async def lost(tape: Tape) -> None:
        await good(tape)
        error = UpstreamFailed("lost", code="connection_lost")
        error.headers = {"x-should-retry": "false"}
        raise error

    job = await ended(jobs.begin(FRESH, lost))
    assert jobs.found(FRESH) is None
    assert jobs.found(RETRY) is job
    job.told = True
    assert jobs.found(RETRY) is None


@pytest.mark.parametrize(
    "other", [Asked("bob", b"d1", retry=True), Asked("ada", b"d2", retry=True)]
)
async def test_another_callers_or_another_request_joins_nothing(jobs: Jobs, other: Asked) -> None:
    job = jobs.begin(FRESH, endless)
    assert jobs.found(other) is None
    assert jobs.of("bob", job.id) is None


async def test_each_of_two_retries_gets_a_picture_of_its_own(jobs: Jobs) -> None:
    first, second = [await ended(jobs.begin(FRESH, good)) for _ in range(2)]
    assert jobs.found(RETRY) is first
    first.delivered += 1
    assert jobs.found(RETRY) is second


async def test_a_job_whose_client_has_left_comes_first(jobs: Jobs) -> None:
    heard, left = jobs.begin(FRESH, endless), jobs.begin(FRESH, endless)
    with heard.listening(lambda: True):
        assert jobs.found(RETRY) is left


async def test_a_client_that_has_gone_without_our_having_written_to_it_does_not_count(
    jobs: Jobs,
) -> None:
    first, own = (jobs.begin(FRESH, endless) for _ in range(2))
    with first.listening(lambda: True), own.listening(lambda: False):
        assert jobs.found(RETRY) is own


async def test_what_a_job_failed_with_holds_nothing_of_the_request(jobs: Jobs) -> None:
    async def fails(tape: Tape) -> None:
        try:
            await bad(tape)
        except UpstreamFailed as error:
            raise UpstreamFailed("lost") from error

    job = await ended(jobs.begin(FRESH, fails))
    failure = job.tape.failure
    assert failure
    assert (failure.__traceback__, failure.__cause__, failure.__context__) == (None, None, None)


async def test_an_equal_request_shares_only_where_it_says_so(jobs: Jobs) -> None:
    job = jobs.begin(FRESH, endless)
    assert jobs.found(Asked("ada", b"d1", shares=True)) is job
    done = await ended(jobs.begin(Asked("ada", b"d2"), good))
    assert jobs.found(Asked("ada", b"d2", shares=True)) is None
    assert done.status == "done"


async def test_a_key_names_one_request(jobs: Jobs) -> None:
    job = jobs.begin(Asked("ada", b"d1", key="k"), endless)
    assert jobs.found(Asked("ada", b"d1", key="k")) is job
    assert jobs.found(Asked("ada", b"d1", key="other")) is None
    assert jobs.found(Asked("bob", b"d2", key="k")) is None
    with pytest.raises(BadRequest) as caught:
        jobs.found(Asked("ada", b"d2", key="k"))
    assert (caught.value.status, caught.value.code) == (422, "idempotency_key_reused")


async def test_a_key_whose_job_failed_can_be_used_again(jobs: Jobs) -> None:
    asked = Asked("ada", b"d1", key="k")
    await ended(jobs.begin(asked, bad))
    assert jobs.found(asked) is None
    again = jobs.begin(asked, endless)
    assert jobs.found(asked) is again


async def test_what_is_cancelled_says_so(jobs: Jobs) -> None:
    job = jobs.begin(FRESH, endless)
    await asyncio.sleep(0)
    jobs.forget(job)
    await ended(job)
    assert isinstance(job.tape.failure, GatewayError)
    assert job.tape.failure.code == "job_cancelled"
    assert (len(jobs), jobs.running, jobs.found(RETRY)) == (0, 0, None)


async def test_a_job_of_nobody_is_cancelled_where_the_operator_wants_that(tmp_path: Path) -> None:
    jobs = Jobs(Shelf(1 << 20, 1 << 20), tmp_path, park_seconds=60, cancels=True)
    job = jobs.begin(FRESH, endless)
    with job.listening(lambda: True), job.listening(lambda: True):
        pass
    await ended(job)
    assert isinstance(job.tape.failure, GatewayError)
    assert job.tape.failure.code == "job_cancelled"
    await jobs.close()


async def test_what_nobody_collects_is_forgotten(tmp_path: Path) -> None:
    jobs = Jobs(Shelf(1 << 20, 1 << 20), tmp_path, park_seconds=0.02)
    job = await ended(jobs.begin(FRESH, good))
    with job.listening(lambda: True):
        await asyncio.sleep(0.05)
        assert len(jobs) == 1
    await asyncio.sleep(0.05)
    assert len(jobs) == 0


async def test_each_is_forgotten_in_its_own_time(tmp_path: Path) -> None:
    jobs = Jobs(Shelf(1 << 20, 1 << 20), tmp_path, park_seconds=0.3)
    jobs.forget(await ended(jobs.begin(FRESH, good)))
    await asyncio.sleep(0.2)
    later = await ended(jobs.begin(FRESH, good))
    await asyncio.sleep(0.2)
    assert jobs.of("ada", later.id) is later
    await asyncio.sleep(0.2)
    assert len(jobs) == 0


async def test_what_outlives_its_time_goes_with_its_last_reader(tmp_path: Path) -> None:
    jobs = Jobs(Shelf(1 << 20, 1 << 20), tmp_path, park_seconds=0)
    job = jobs.begin(FRESH, good)
    with job.listening(lambda: True):
        await ended(job)
        await asyncio.sleep(0.02)
        assert (len(jobs), len(jobs._parked)) == (1, 0)
    assert len(jobs) == 0


async def restarted(folder: Path, disk: int = 1 << 20, seconds: float = 60) -> Jobs:
    """Give the jobs of the next process."""
    jobs = Jobs(Shelf(1 << 20, disk), folder, park_seconds=seconds)
    await jobs.open()
    return jobs


async def read(job: Job) -> bytes:
    return b"".join([piece async for piece in job.tape.pieces()])


def names(folder: Path) -> set[str]:
    return {it.name for it in folder.iterdir()} - {"lock"}


async def test_what_is_finished_outlives_the_process(tmp_path: Path) -> None:
    keyed = Asked("ada", b"d2", key="k")
    jobs = await restarted(tmp_path)
    first, second = [await ended(jobs.begin(asked, good)) for asked in (FRESH, keyed)]
    for _ in range(2):
        await jobs.keep()
        assert jobs.unkept == 0
        await jobs.close()
        jobs = await restarted(tmp_path)
        found = jobs.found(RETRY)
        assert found
        assert found is jobs.of("ada", first.id)
        assert (found.status, found.began, await read(found)) == ("done", first.began, b"picture")
        assert jobs.found(keyed) is jobs.of("ada", second.id)
        assert jobs.of("bob", first.id) is None
    await jobs.close()


async def test_what_failed_or_still_runs_is_not_kept(tmp_path: Path) -> None:
    jobs = await restarted(tmp_path)
    for play in (bad, endless):
        await asyncio.wait([asyncio.ensure_future(ended(jobs.begin(FRESH, play)))], timeout=0.01)
    await jobs.keep()
    assert jobs.unkept == 0
    await jobs.close()
    assert names(tmp_path) == set()


async def test_what_nobody_has_got_is_kept_in_place_of_what_somebody_has(tmp_path: Path) -> None:
    jobs = await restarted(tmp_path, disk=15)
    waiting, got, also_got, last = [await ended(jobs.begin(FRESH, good)) for _ in range(4)]
    got.delivered = also_got.delivered = 1
    await got.tape.move()
    await jobs.keep()
    assert [job.kept for job in (waiting, got, also_got, last)] == [True, False, False, True]
    assert jobs.unkept == 0
    await jobs.close()
    assert len(names(tmp_path)) == 4


async def test_a_job_that_is_forgotten_after_a_restart_leaves_nothing(tmp_path: Path) -> None:
    jobs = await restarted(tmp_path)
    job = await ended(jobs.begin(FRESH, good))
    await jobs.keep()
    await jobs.close()
    jobs = await restarted(tmp_path)
    jobs.forget(jobs._by_id[job.id])  # noqa: SLF001 - whoever it is
    assert names(tmp_path) == set()
    await jobs.close()


async def test_the_time_that_is_left_goes_on_after_a_restart(tmp_path: Path) -> None:
    jobs = await restarted(tmp_path, seconds=0.2)
    await ended(jobs.begin(FRESH, good))
    await jobs.keep()
    await jobs.close()
    jobs = await restarted(tmp_path)
    assert jobs.found(RETRY)
    await asyncio.sleep(0.25)
    assert (len(jobs), names(tmp_path)) == (0, set())
    await jobs.close()


async def test_what_has_no_room_any_more_is_given_up_at_the_start(tmp_path: Path) -> None:
    jobs = await restarted(tmp_path)
    _, newer = [await ended(jobs.begin(FRESH, good)) for _ in range(2)]
    await jobs.keep()
    await jobs.close()
    jobs = await restarted(tmp_path, disk=10)
    assert [len(jobs), jobs.of("ada", newer.id) is None] == [1, False]
    await jobs.close()
    await (await restarted(tmp_path, disk=0)).close()
    assert names(tmp_path) == set()


async def test_without_a_disk_nothing_is_kept_and_nothing_is_made(tmp_path: Path) -> None:
    jobs = await restarted(tmp_path / "jobs", disk=0)
    await ended(jobs.begin(FRESH, good))
    await jobs.keep()
    assert (jobs.unkept, (tmp_path / "jobs").exists()) == (1, False)
    await jobs.close()


async def test_a_folder_that_cannot_be_used_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    jobs = await restarted(tmp_path / "file" / "jobs")
    job = await ended(jobs.begin(FRESH, good))
    for _ in range(2):
        await jobs.keep()
    assert (jobs.found(RETRY), jobs.unkept, len(caplog.records)) == (job, 1, 1)
    await jobs.close()


async def test_a_disk_that_fails_in_the_end_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = await restarted(tmp_path)
    job = await ended(jobs.begin(FRESH, good))
    (tmp_path / job.id).mkdir()
    for _ in range(2):
        await jobs.keep()
    assert (jobs.unkept, len(caplog.records)) == (1, 1)
    await jobs.close()


async def test_a_job_forgotten_while_it_is_kept_leaves_nothing(tmp_path: Path) -> None:
    jobs = await restarted(tmp_path)
    for rounds in range(6):
        job = await ended(jobs.begin(FRESH, good))
        keeping = asyncio.ensure_future(jobs.keep())
        for _ in range(rounds):
            await asyncio.sleep(0.0005)
        jobs.forget(job)
        await keeping
        assert names(tmp_path) == set()
    await jobs.close()


async def test_a_header_that_cannot_be_written_costs_only_its_own_job(tmp_path: Path) -> None:
    async def odd(tape: Tape) -> None:
        tape.begin(200, {"x-odd": "\udc80"})
        await tape.append(b"picture")

    jobs = await restarted(tmp_path)
    plain, strange = [await ended(jobs.begin(FRESH, play)) for play in (good, odd)]
    await jobs.keep()
    assert (plain.kept, strange.kept, jobs.unkept) == (True, False, 1)
    await jobs.close()
    assert names(tmp_path) == {plain.id, f"{plain.id}.json"}
