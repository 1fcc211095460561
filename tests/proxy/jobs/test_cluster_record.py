"""What processes tell each other of a job: all that is needed, nothing that breaks an answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from adapters.errors import ImageError, ProviderError
from proxy.errors import BadRequest
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.cluster_record import Failure, JobRecord, decode, encode, make_record
from proxy.jobs.job import Job, JobKey
from proxy.jobs.recording import Recording
from proxy.jobs.store import JobStore

GOOD = JobRecord("test", b"d" * 32, "p", 1.5, state="done", headers=[("x-a", "b")], size=3)


def round_trip(error: ImageError, *, doubt: bool = False) -> ImageError:
    """Return an error as another process gives it."""
    failed = JobRecord(
        "c",
        b"d",
        "o",
        1.0,
        state="failed",
        failure=Failure.from_error(error, unreported_charge=doubt),
    )
    found = decode(encode(failed))
    assert found is not None
    assert found.failure is not None
    return found.failure.to_error()


def test_a_record_is_read_as_it_was_written() -> None:
    assert decode(encode(GOOD)) == GOOD


@pytest.mark.parametrize(
    "data",
    [None, b"", b"\xff", msgspec.msgpack.encode([1]), encode(GOOD)[:-1]],
)
def test_what_is_no_record_is_none(data: bytes | None) -> None:
    assert decode(data) is None


@pytest.mark.parametrize("header", [("x-a", "b\r\nx-b: c"), ("x a", "b"), ("content-length", "4")])
def test_headers_that_would_break_an_answer_are_not_read(header: tuple[str, str]) -> None:
    fields = {**msgspec.to_builtins(GOOD, builtin_types=(bytes,)), "headers": [header]}
    assert decode(msgspec.msgpack.encode(fields)) is None


def test_a_failure_is_told_elsewhere_as_it_is_here() -> None:
    error = BadRequest("Say more.", code="short", param="prompt")
    error.headers = {"x-should-retry": "false", "x-own": "1"}
    found = round_trip(error)
    assert (found.status, found.to_dict()) == (error.status, error.to_dict())
    assert found.headers == {"x-should-retry": "false"}


def test_a_providers_own_error_keeps_its_bytes() -> None:
    error = ProviderError("No.", body=b'{"error": {"own": 1}}', status=429)
    found = round_trip(error)
    assert isinstance(found, ProviderError)
    assert (found.body, found.status) == (error.body, 429)


def test_only_a_failure_that_nobody_has_to_hear_of_is_useless() -> None:
    failed = [
        JobRecord(
            "c", b"d", "o", 1.0, failure=Failure.from_error(BadRequest("x"), unreported_charge=it)
        )
        for it in (True, False)
    ]
    assert [it.cannot_serve_retry for it in (*failed, GOOD)] == [False, True, False]


async def finished_job(
    tmp_path: Path, *pieces: bytes, headers: dict[str, str] | None = None
) -> Job:
    """Return a job that has ended with an answer."""
    jobs = JobStore(RecordingBudget(1 << 20, 0), tmp_path, result_ttl=60)

    async def play(recording: Recording) -> None:
        recording.begin(200, headers or {})
        for piece in pieces:
            await recording.append(piece)

    job = jobs.start(JobKey("c", b"d" * 32), play)
    assert job.task
    await job.task
    await asyncio.sleep(0)
    return job


async def test_a_good_answer_is_told_with_its_head(tmp_path: Path) -> None:
    record = make_record(await finished_job(tmp_path, b"abc", headers={"x-a": "b"}), "me")
    assert (record.state, record.status, record.size) == ("done", 200, 3)
    assert (record.headers, record.abandoned, record.stored) == ([("x-a", "b")], True, False)


async def test_an_answer_whose_beginning_is_gone_is_no_use_to_anybody(tmp_path: Path) -> None:
    job = await finished_job(tmp_path, b"abc")
    job.recording.discard()
    record = make_record(job, "me")
    assert record.cannot_serve_retry
    assert make_record(job, "me", stored=True).state == "done"


@pytest.mark.parametrize(
    ("pieces", "headers"),
    [((), {}), ((b"abc",), {"content-length": "4"}), ((b"abc",), {"x-a": "b\x07"})],
)
async def test_an_answer_that_cannot_be_told_of_is_no_use_to_anybody(
    tmp_path: Path, pieces: tuple[bytes, ...], headers: dict[str, str]
) -> None:
    assert make_record(
        await finished_job(tmp_path, *pieces, headers=headers), "me"
    ).cannot_serve_retry
