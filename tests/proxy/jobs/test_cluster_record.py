"""What processes tell each other of a job: all that is needed, nothing that breaks an answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from adapters.errors import ImageError, ProviderError
from proxy.errors import BadRequest
from proxy.jobs.budget import Shelf
from proxy.jobs.cluster_record import Failure, Record, read, record_of, written
from proxy.jobs.job import Asked, Job
from proxy.jobs.recording import Tape
from proxy.jobs.store import Jobs

GOOD = Record("test", b"d" * 32, "p", 1.5, state="done", headers=[("x-a", "b")], size=3)


def told(error: ImageError, *, doubt: bool = False) -> ImageError:
    """Give an error as another process gives it."""
    failed = Record("c", b"d", "o", 1.0, state="failed", failure=Failure.of(error, doubt=doubt))
    found = read(written(failed))
    assert found is not None
    assert found.failure is not None
    return found.failure.as_error()


def test_a_record_is_read_as_it_was_written() -> None:
    assert read(written(GOOD)) == GOOD


@pytest.mark.parametrize(
    "data",
    [None, b"", b"\xff", msgspec.msgpack.encode([1]), written(GOOD)[:-1]],
)
def test_what_is_no_record_is_none(data: bytes | None) -> None:
    assert read(data) is None


@pytest.mark.parametrize("header", [("x-a", "b\r\nx-b: c"), ("x a", "b"), ("content-length", "4")])
def test_headers_that_would_break_an_answer_are_not_read(header: tuple[str, str]) -> None:
    fields = {**msgspec.to_builtins(GOOD, builtin_types=(bytes,)), "headers": [header]}
    assert read(msgspec.msgpack.encode(fields)) is None


def test_a_failure_is_told_elsewhere_as_it_is_here() -> None:
    error = BadRequest("Say more.", code="short", param="prompt")
    error.headers = {"x-should-retry": "false", "x-own": "1"}
    found = told(error)
    assert (found.status, found.as_object()) == (error.status, error.as_object())
    assert found.headers == {"x-should-retry": "false"}


def test_a_providers_own_error_keeps_its_bytes() -> None:
    error = ProviderError("No.", body=b'{"error": {"own": 1}}', status=429)
    found = told(error)
    assert isinstance(found, ProviderError)
    assert (found.body, found.status) == (error.body, 429)


def test_only_a_failure_that_nobody_has_to_hear_of_is_useless() -> None:
    failed = [
        Record("c", b"d", "o", 1.0, failure=Failure.of(BadRequest("x"), doubt=it))
        for it in (True, False)
    ]
    assert [it.is_useless for it in (*failed, GOOD)] == [False, True, False]


async def job_of(tmp_path: Path, *pieces: bytes, headers: dict[str, str] | None = None) -> Job:
    """Give a job that has ended with an answer."""
    jobs = Jobs(Shelf(1 << 20, 0), tmp_path, park_seconds=60)

    async def play(tape: Tape) -> None:
        tape.begin(200, headers or {})
        for piece in pieces:
            await tape.append(piece)

    job = jobs.begin(Asked("c", b"d" * 32), play)
    assert job.task
    await job.task
    await asyncio.sleep(0)
    return job


async def test_a_good_answer_is_told_with_its_head(tmp_path: Path) -> None:
    record = record_of(await job_of(tmp_path, b"abc", headers={"x-a": "b"}), "me")
    assert (record.state, record.status, record.size) == ("done", 200, 3)
    assert (record.headers, record.left, record.stored) == ([("x-a", "b")], True, False)


async def test_an_answer_whose_beginning_is_gone_is_no_use_to_anybody(tmp_path: Path) -> None:
    job = await job_of(tmp_path, b"abc")
    job.tape.forget()
    record = record_of(job, "me")
    assert record.is_useless
    assert record_of(job, "me", stored=True).state == "done"


@pytest.mark.parametrize(
    ("pieces", "headers"),
    [((), {}), ((b"abc",), {"content-length": "4"}), ((b"abc",), {"x-a": "b\x07"})],
)
async def test_an_answer_that_cannot_be_told_of_is_no_use_to_anybody(
    tmp_path: Path, pieces: tuple[bytes, ...], headers: dict[str, str]
) -> None:
    assert record_of(await job_of(tmp_path, *pieces, headers=headers), "me").is_useless
