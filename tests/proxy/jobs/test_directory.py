"""The board: who follows whom, told by what is shared alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.blobs.store import BlobStore
from proxy.errors import BadRequest, BlobStoreFailed, Overloaded
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.cluster_record import Failure, JobRecord
from proxy.jobs.directory import DirectoryLimits, JobDirectory, JobResults
from proxy.jobs.job import Job, JobKey
from proxy.jobs.recording import Recording, RecordingTruncated
from proxy.jobs.store import JobStore
from proxy.settings.loader import default_settings
from proxy.state.memory import MemoryStore
from proxy.state.ops import Op, StoreUnavailable

MB = 1024 * 1024
NAME = "a" * 32


class Node:
    """A process with a board, and jobs that run until they are cancelled."""

    def __init__(self, shared: Any, folder: Path, limits: DirectoryLimits | None = None) -> None:
        self.jobs = JobStore(RecordingBudget(MB, 0), folder, result_ttl=60)
        self.directory = JobDirectory(shared, self.jobs, limits or DirectoryLimits(9, 60))

    def start(self, asked: JobKey) -> Job:
        async def forever(_: Recording) -> None:
            await asyncio.Event().wait()

        return self.jobs.start(asked, forever)

    async def claim(self, asked: JobKey, **about: Any) -> tuple[Job, str | None]:
        job = self.start(asked)
        return job, await self.directory.claim(job, self.record(job, **about))

    def record(self, job: Job, **about: Any) -> JobRecord:
        asked = job.key
        return JobRecord(
            asked.caller, asked.digest, self.directory.process_id, job.created_at, **about
        )


def make_key(prompt: int = 1, **about: Any) -> JobKey:
    return JobKey("test", bytes([prompt]) * 32, **about)


class UnavailableStore:
    """What is shared, when it is away."""

    async def execute(self, *ops: Op) -> Sequence[Any]:
        del ops
        raise StoreUnavailable


async def test_a_retry_follows_the_job_that_lost_its_client(tmp_path: Path) -> None:
    memory = MemoryStore()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    await one.directory.heartbeat()
    await one.claim(make_key())
    lost, _ = await one.claim(make_key(), abandoned=True)
    _, other = await two.claim(make_key(is_retry=True))
    assert other == lost.id
    assert await one.directory.heartbeat() == (True, [("taken", lost.id)])
    await one.jobs.close()
    await two.jobs.close()


async def test_nobody_follows_what_another_caller_asked_for(tmp_path: Path) -> None:
    memory = MemoryStore()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    await one.claim(make_key(idempotency_key="k"), abandoned=True)
    stranger = JobKey("other", make_key().digest, is_retry=True)
    keyed = JobKey("other", make_key().digest, idempotency_key="k")
    assert [(await two.claim(it))[1] for it in (stranger, keyed)] == ["", ""]
    await one.jobs.close()
    await two.jobs.close()


async def test_a_name_is_free_again_once_its_job_failed(tmp_path: Path) -> None:
    memory = MemoryStore()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    job, _ = await one.claim(make_key(idempotency_key="k"))
    other = await two.claim(make_key(idempotency_key="k"))
    failed = one.record(
        job, state="failed", failure=Failure.from_error(BadRequest("x"), unreported_charge=False)
    )
    await one.directory.publish([(job.id, failed, 60)])
    anew, first = await two.claim(make_key(idempotency_key="k"))
    _, second = await one.claim(make_key(idempotency_key="k"))
    assert (other[1], first, second) == (job.id, "", anew.id)
    await one.jobs.close()
    await two.jobs.close()


async def test_a_key_is_for_one_request(tmp_path: Path) -> None:
    memory = MemoryStore()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    await one.claim(make_key(idempotency_key="k"))
    with pytest.raises(BadRequest) as raised:
        await two.claim(make_key(2, idempotency_key="k"))
    assert (raised.value.status, raised.value.code) == (422, "idempotency_key_reused")
    await one.jobs.close()
    await two.jobs.close()


async def test_what_was_refused_takes_no_place(tmp_path: Path) -> None:
    memory = MemoryStore()
    node = Node(memory, tmp_path, DirectoryLimits(1, 60))
    first, _ = await node.claim(make_key())
    for _ in range(3):
        with pytest.raises(Overloaded):
            await node.claim(make_key(2))
    ended = node.record(first, state="done", size=1, status=200)
    await node.directory.publish([(first.id, ended, 60)])
    assert (await node.claim(make_key(2)))[1] == ""
    await node.jobs.close()


async def test_what_cannot_be_counted_is_made_or_refused_as_the_operator_wants(
    tmp_path: Path,
) -> None:
    is_open, closed = (
        Node(UnavailableStore(), tmp_path),
        Node(UnavailableStore(), tmp_path, DirectoryLimits(9, 60, fails_closed=True)),
    )
    assert (await is_open.claim(make_key()))[1] is None
    with pytest.raises(Overloaded, match=r"redis\.limits"):
        await closed.claim(make_key())
    await is_open.jobs.close()
    await closed.jobs.close()


async def test_jobs_are_found_again_after_what_is_shared_was_lost(tmp_path: Path) -> None:
    memory = MemoryStore()
    one = Node(memory, tmp_path)
    job, _ = await one.claim(make_key(idempotency_key="k"))
    memory.restore(MemoryStore().dump())
    fresh = MemoryStore()
    one.directory._state = fresh  # noqa: SLF001 - as after a restart of the engine
    two = Node(fresh, tmp_path)
    assert await two.directory.claim_abandoned(make_key(is_retry=True)) == ""
    await one.directory.register_again([job])
    await one.directory.publish([(job.id, one.record(job), 60)])
    assert await two.directory.claim_abandoned(make_key(is_retry=True)) == job.id
    assert (await two.claim(make_key(idempotency_key="k")))[1] == job.id
    await one.jobs.close()
    await two.jobs.close()


async def test_a_follower_is_known_by_its_own_name(tmp_path: Path) -> None:
    memory = MemoryStore()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    job, _ = await one.claim(make_key())
    follower, _ = await two.claim(make_key(2))
    alias = two.record(follower, alias_of=job.id)
    await two.directory.publish([(follower.id, alias, 60)])
    seen = await one.directory.look_up(follower.id)
    assert seen is not None
    assert (seen.job_id, seen.record.owner, seen.owner_alive) == (
        job.id,
        one.directory.process_id,
        False,
    )
    assert await one.directory.look_up("f" * 32) is None
    await one.jobs.close()
    await two.jobs.close()


def make_results(folder: Path) -> JobResults:
    return JobResults(BlobStore(replace(default_settings({}), state_dir=str(folder))))


async def make_recording(folder: Path, *pieces: bytes) -> Recording:
    made = Recording(RecordingBudget(64 * MB, 0), folder / "recording")
    made.begin(200, {})
    for piece in pieces:
        await made.append(piece)
    made.end()
    return made


async def test_an_answer_is_read_from_anywhere_in_it(tmp_path: Path) -> None:
    kept, body = make_results(tmp_path), b"ab" * MB
    await kept.put(NAME, await make_recording(tmp_path, body[:5], body[5:]))
    assert await kept.size(NAME) == len(body)
    assert b"".join([it async for it in kept.chunks(NAME, 0, len(body))]) == body
    assert b"".join([it async for it in kept.chunks(NAME, MB + 1, len(body))]) == body[MB + 1 :]


async def test_an_answer_that_was_evicted_is_not_there(tmp_path: Path) -> None:
    kept = make_results(tmp_path)
    await kept.put(NAME, await make_recording(tmp_path, b"abc"))
    await kept.delete(NAME)
    await kept.delete(NAME)
    assert await kept.size(NAME) is None
    with pytest.raises(BlobStoreFailed):
        _ = [it async for it in kept.chunks(NAME, 0, 3)]


async def test_what_was_evicted_before_it_was_stored_is_not_stored(tmp_path: Path) -> None:
    kept, gone = make_results(tmp_path), await make_recording(tmp_path, b"abc")
    gone.discard()
    with pytest.raises(RecordingTruncated):
        await kept.put(NAME, gone)
    assert await kept.size(NAME) is None
