"""What a job holds beside its response: headers, errors, keys and chunks have bounds, and count."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from adapters.errors import BODY_LIMIT, ImageError, ProviderError
from proxy.http.forwarding import relay_headers
from proxy.http.headers import header_size
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.job import Job, JobKey
from proxy.jobs.keys import JOBS
from proxy.jobs.recording import Recording
from proxy.jobs.store import JobStore
from tests.support.gateway import ANSWER, gateway_to, json_reply

UP = {"virtual_key": "up"}
LONG = 1 << 20
MB = 1 << 20


def job_store(folder: Path, memory: int = MB) -> JobStore:
    return JobStore(RecordingBudget(memory, 0), folder, result_ttl=60)


async def run(jobs: JobStore, work: Any, **key: Any) -> Job:
    job = jobs.start(JobKey("one", b"d" * 32, **key), work)
    assert job.task
    await asyncio.wait([job.task])
    await asyncio.sleep(0)
    return job


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"x-request-id": "1", "x-long": "v" * 30_000}, {"x-request-id"}),
        ({"content-type": "image/png", **{f"x-{it}": "v" * 300 for it in range(99)}}, None),
        ({"content-type": "image/png", **{f"x-{it}": "" for it in range(999)}}, None),
        ({"x-request-id": "1"}, {"x-request-id"}),
    ],
    ids=["one long", "many", "empty", "ordinary"],
)
def test_a_providers_headers_are_relayed_up_to_a_bound_the_longest_dropped_first(
    headers: dict[str, str], kept: set[str] | None
) -> None:
    relayed = relay_headers(headers, with_body=True)
    assert sum(header_size(name, value) for name, value in relayed.items()) <= 16 * 1024
    assert kept is None or set(relayed) == kept
    assert ("content-type" in headers) == ("content-type" in relayed)


async def test_large_headers_of_a_provider_reach_neither_client_nor_job() -> None:
    async def reply(request: web.Request) -> web.Response:
        del request
        huge = {f"x-{it}": "v" * 7000 for it in range(60)}
        return json_reply(ANSWER, 200, **huge)

    async with gateway_to(reply) as (ours, _):
        got = await ours.draw(**UP)
        assert got.status == 200
        assert sum(len(name) + len(value) for name, value in got.headers.items()) < 20_000
        [job] = ours.app[JOBS].all()
        assert 0 < job.recording.overhead < 20_000


@pytest.mark.parametrize("field", ["message", "code", "param"])
def test_an_error_holds_no_more_of_a_text_than_it_shows(field: str) -> None:
    fields: dict[str, Any] = {field: "x" * LONG} if field != "message" else {}
    error = ImageError("x" * LONG if field == "message" else "No.", **fields)
    assert len(repr(error.args)) < 1000
    assert len(orjson.dumps(error.to_dict())) < 1000


async def test_a_long_error_body_is_not_held() -> None:
    async def reply(request: web.Request) -> web.Response:
        del request
        error = {"message": "No.", "type": "bad", "detail": "x" * (BODY_LIMIT + 1)}
        return json_reply({"error": error}, status=400)

    async with gateway_to(reply) as (ours, _):
        got = await ours.draw(**UP)
        assert got.status == 400
        assert "No." in got.error["message"]
        [job] = ours.app[JOBS].all()
        assert isinstance(job.recording.failure, ProviderError)
        assert job.recording.failure.body is None


@pytest.mark.parametrize("what", ["headers", "error", "error headers", "chunks"])
async def test_what_is_held_beside_a_body_counts_and_ends_with_the_job(
    what: str, tmp_path: Path
) -> None:
    async def work(recording: Recording) -> None:
        if what.startswith("error"):
            error = ProviderError("No.", body=b"x" * BODY_LIMIT)
            if what == "error headers":
                error = ProviderError("No.")
                error.headers = {"x-a": "x" * BODY_LIMIT}
            raise error
        recording.begin(200, {"x-a": "v" * BODY_LIMIT} if what == "headers" else {})
        for _ in range(1000):
            await recording.append(b"x")

    jobs = job_store(tmp_path)
    job = await run(jobs, work)
    assert job.recording.overhead > 60_000
    assert jobs.bytes_in_memory >= job.recording.overhead
    jobs.remove(job)
    assert jobs.bytes_in_memory == 0
    await jobs.close()


async def test_jobs_with_large_errors_stay_within_the_memory(tmp_path: Path) -> None:
    async def work(recording: Recording) -> None:
        del recording
        raise ProviderError("No.", body=b"x" * BODY_LIMIT)

    jobs = job_store(tmp_path)
    for _ in range(40):
        await run(jobs, work)
    assert jobs.bytes_in_memory <= MB // 2
    assert len(jobs) < 10
    await jobs.close()


async def test_small_chunks_that_went_to_disk_or_were_read_count_less(tmp_path: Path) -> None:
    budget = RecordingBudget(MB, MB)
    recording = Recording(budget, tmp_path / "one")
    for _ in range(1000):
        await recording.append(b"x")
    before = recording.overhead
    await recording.spill()
    assert recording.overhead < before // 5
    recording.discard()
    assert (budget.bytes_in_memory, budget.overhead_bytes) == (0, 0)


async def test_a_long_key_of_a_job_counts(tmp_path: Path) -> None:
    async def work(recording: Recording) -> None:
        recording.begin(200, {})

    jobs = job_store(tmp_path)
    job = await run(jobs, work, idempotency_key="k" * 512)
    assert job.recording.overhead >= 400
    await jobs.close()
