"""Which job a request belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.errors import BadRequest, TimedOut, UpstreamFailed
from proxy.jobs.registry import CANCELLED, Asked, Job, Jobs, outcome_unknown
from proxy.jobs.shelf import Shelf
from proxy.jobs.tape import Tape

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
    with heard.listening():
        assert jobs.found(RETRY) is left


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
    assert job.tape.failure is CANCELLED
    assert (len(jobs), jobs.running, jobs.found(RETRY)) == (0, 0, None)


async def test_a_job_of_nobody_is_cancelled_where_the_operator_wants_that(tmp_path: Path) -> None:
    jobs = Jobs(Shelf(1 << 20, 1 << 20), tmp_path, park_seconds=60, cancels=True)
    job = jobs.begin(FRESH, endless)
    with job.listening(), job.listening():
        pass
    await ended(job)
    assert job.tape.failure is CANCELLED
    await jobs.close()


async def test_what_nobody_collects_is_forgotten(tmp_path: Path) -> None:
    jobs = Jobs(Shelf(1 << 20, 1 << 20), tmp_path, park_seconds=0.02)
    job = await ended(jobs.begin(FRESH, good))
    with job.listening():
        await asyncio.sleep(0.05)
        assert len(jobs) == 1
    await asyncio.sleep(0.05)
    assert len(jobs) == 0


async def test_what_outlives_its_time_goes_with_its_last_reader(tmp_path: Path) -> None:
    jobs = Jobs(Shelf(1 << 20, 1 << 20), tmp_path, park_seconds=0)
    job = jobs.begin(FRESH, good)
    with job.listening():
        await ended(job)
        await asyncio.sleep(0.02)
        assert (len(jobs), len(jobs._timers)) == (1, 0)
    assert len(jobs) == 0


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (UpstreamFailed("lost", code="connection_lost"), True),
        (UpstreamFailed("late", status=504, code="timeout"), True),
        (TimedOut("late"), True),
        (UpstreamFailed("no connection"), False),
    ],
)
def test_an_outcome_is_unknown_once_a_request_went_out_and_nothing_came_back(
    error: UpstreamFailed, *, unknown: bool
) -> None:
    assert outcome_unknown(error) is unknown
