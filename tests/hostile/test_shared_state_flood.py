"""One caller floods what processes share: each record is bounded, and claims of others wait."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.errors import ProviderError
from proxy.errors import Overloaded
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.cluster_record import MAX_BYTES, Failure, JobRecord, make_record, record_size
from proxy.jobs.directory import DirectoryLimits, JobDirectory
from proxy.jobs.job import Job, JobKey
from proxy.jobs.recording import Recording
from proxy.jobs.shares import DirectoryShares
from proxy.jobs.store import JobStore
from proxy.settings.schema import Redis
from proxy.state import redis_client
from proxy.state.memory import MemoryStore
from proxy.state.ops import Get, Op, Set
from proxy.state.redis_client import RedisBusy, RedisClient
from proxy.workers import rpc, shared_state
from proxy.workers.rpc import RpcConnection
from proxy.workers.shared_state import EXECUTE, RpcStateStore, StateServer

DIGEST = b"d" * 32
LONG = 1 << 20


class CountingStore(MemoryStore):
    """A state store that counts the bytes of each call."""

    largest_call = 0

    async def execute(self, *ops: Op) -> Sequence[Any]:
        self.largest_call = max(self.largest_call, len(msgspec.msgpack.encode(ops)))
        return self.execute_now(ops)


def job_store(folder: Path) -> JobStore:
    return JobStore(RecordingBudget(1 << 30, 0), folder, result_ttl=60)


def directory(shared: Any, jobs: JobStore) -> JobDirectory:
    return JobDirectory(shared, jobs, DirectoryLimits(99, 60))


def start(jobs: JobStore, **key: Any) -> Job:
    async def forever(_: Recording) -> None:
        await asyncio.Event().wait()

    return jobs.start(JobKey("one", DIGEST, **key), forever)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-a": "v" * LONG},
        {f"x-{it}": "v" * 500 for it in range(128)},
        {f"x-{it}": "" for it in range(5000)},
        {"x-a": "\N{GRINNING FACE}" * 2000},
    ],
    ids=["one long", "many", "empty", "wide characters"],
)
async def test_a_record_is_bounded_whatever_headers_a_provider_sends(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async def play(recording: Recording) -> None:
        recording.begin(200, {"content-type": "image/png", **headers})
        await recording.append(b"abc")

    jobs = job_store(tmp_path)
    job = jobs.start(JobKey("one", DIGEST), play)
    assert job.task
    await job.task
    record = make_record(job, "me")
    assert record_size(record) <= MAX_BYTES
    assert (record.state, record.headers[0]) == ("done", ("content-type", "image/png"))
    await jobs.close()


@pytest.mark.parametrize("field", ["message", "code", "param", "type", "body", "retry-after"])
def test_a_record_is_bounded_whatever_error_a_provider_sends(field: str) -> None:
    long = "\N{GRINNING FACE}" * LONG
    fields: dict[str, Any] = {field: long} if field in ("code", "param", "type") else {}
    body = b"x" * LONG if field == "body" else None
    error = ProviderError(long if field == "message" else "No.", status=429, body=body, **fields)
    if field == "retry-after":
        error.headers = {"retry-after": long, "x-should-retry": "false"}
    failure = Failure.from_error(error, unreported_charge=True)
    record = JobRecord("one", DIGEST, "me", 1.0, state="failed", failure=failure)
    assert record_size(record) <= MAX_BYTES
    again = failure.to_error()
    assert (again.status, again.message[:3]) == (429, error.message[:3])
    assert field != "retry-after" or again.headers == {"x-should-retry": "false"}


async def test_records_are_published_in_calls_of_bounded_size(tmp_path: Path) -> None:
    store = CountingStore()
    large = JobRecord("one", DIGEST, "me", 1.0, "done", headers=[("x-a", "v" * 4000)], size=3)
    async with asyncio.timeout(10):
        await directory(store, job_store(tmp_path)).publish(
            (f"{number:032x}", large, 60.0) for number in range(400)
        )
    assert store.size == 400
    assert store.largest_call < 300_000


async def test_records_are_read_in_calls_of_bounded_size(tmp_path: Path) -> None:
    class Counting(MemoryStore):
        largest_reply = 0

        async def execute(self, *ops: Op) -> Sequence[Any]:
            replies = self.execute_now(ops)
            self.largest_reply = max(self.largest_reply, len(msgspec.msgpack.encode(replies)))
            return replies

    store, jobs = Counting(), job_store(tmp_path)
    elsewhere = directory(store, job_store(tmp_path))
    large = JobRecord("one", DIGEST, "me", 1.0, "done", headers=[("x-a", "v" * 4000)], size=3)
    for _ in range(64):
        await elsewhere.claim(start(elsewhere._jobs), large)
    ours = directory(store, jobs)
    assert await ours.claim(start(jobs, is_retry=True), large)
    assert store.largest_reply < 64 * 1024
    await jobs.close()
    await elsewhere._jobs.close()


def test_a_callers_share_of_the_directory_is_bounded_and_its_own() -> None:
    shares = DirectoryShares(limit=10_000, clock=lambda: 0.0)
    assert not shares.add("theirs", JobKey("two", DIGEST), 1000, 60, is_waiting=True)
    evicted = []
    for number in range(1000):
        evicted += shares.add(f"{number}", JobKey("one", DIGEST), 500, 60, is_waiting=False)
    assert len(evicted) > 980
    assert {key.caller for _, key in evicted} == {"one"}
    assert [job_id for job_id, _ in evicted[:2]] == ["0", "1"]


def test_results_that_wait_for_their_client_leave_the_directory_last() -> None:
    shares = DirectoryShares(limit=5_000, clock=lambda: 0.0)
    key = JobKey("one", DIGEST)
    assert not shares.add("waits", key, 500, 60, is_waiting=True)
    evicted = [
        job_id
        for number in range(100)
        for job_id, _ in shares.add(f"{number}", key, 500, 60, is_waiting=False)
    ]
    assert len(evicted) > 90
    assert "waits" not in evicted


def test_what_has_expired_counts_no_longer() -> None:
    now = 0.0
    shares = DirectoryShares(limit=3_000, clock=lambda: now)
    for number in range(50):
        now += 61
        assert not shares.add(
            f"{number}", JobKey("one", DIGEST), 2000, 60, is_waiting=number % 2 == 0
        )


async def test_the_names_of_a_forgotten_job_are_forgotten_too(tmp_path: Path) -> None:
    store, jobs = MemoryStore(), job_store(tmp_path)
    ours = directory(store, jobs)
    job = start(jobs, idempotency_key="mine")
    assert await ours.claim(job, make_record(job, "me")) == ""
    before = store.size
    await ours.forget([(job.id, job.key)])
    assert (before, store.size) == (4, 1)  # Only the slot is left.
    await jobs.close()


async def test_a_claim_does_without_no_supervisor_that_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_state, "TURN_SECONDS", 0.01)
    ours, theirs = socket.socketpair()
    supervisor = await RpcConnection.from_socket(ours)
    line = await RpcConnection.from_socket(theirs)

    async def busy(_: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    supervisor.handlers[EXECUTE] = busy
    jobs = job_store(tmp_path)
    claims = directory(RpcStateStore(line), jobs)
    for key in ({"idempotency_key": "k"}, {"is_retry": True}, {"coalesce": True}, {}):
        job = start(jobs, **key)
        with pytest.raises(Overloaded):
            await claims.claim(job, make_record(job, "me"))
    supervisor.close()
    await line.closed.wait()
    job = start(jobs, idempotency_key="alone")
    assert await claims.claim(job, make_record(job, "me")) is None
    for task in supervisor._tasks:
        task.cancel()
    await jobs.close()


async def test_a_large_call_makes_others_wait_and_refuses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rpc, "_MAX_UNSENT_BYTES", 1 << 16)
    ours, theirs = socket.socketpair()
    supervisor = await RpcConnection.from_socket(ours)
    line = await RpcConnection.from_socket(theirs)
    supervisor.sync_handlers[EXECUTE] = StateServer().execute
    shared = RpcStateStore(line)
    large = Set("large", bytes(8 << 20), 60)
    async with asyncio.timeout(20):
        replies = await asyncio.gather(
            shared.execute(large), *(shared.execute(Get(f"{it}")) for it in range(100))
        )
    assert [list(it) for it in replies] == [[None]] * 101
    supervisor.close()
    await line.closed.wait()


async def test_to_wait_for_ones_own_calls_is_no_fault_of_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_client, "TURN_SECONDS", 0.01)
    client = RedisClient(Redis(url="redis://127.0.0.1:1", timeout_seconds=10))
    done = asyncio.Event()

    async def wait(_: object) -> None:
        await done.wait()

    calls = [asyncio.create_task(client.call(wait)) for _ in range(redis_client._MAX_CONCURRENT)]
    await asyncio.sleep(0)
    with pytest.raises(RedisBusy):
        await client.send(["k"], [("GET", "k")])
    assert not client.is_unavailable
    done.set()
    await asyncio.gather(*calls)
