"""The board on which processes tell each other of their jobs, so that a retry finds its own.

    job:ID          a record of the job, by its owner only
    same:DIGEST     the ids of the jobs for one request of one caller, oldest first
    key:DIGEST      the digest and the id of what a caller's Idempotency-Key stands for
    share:DIGEST    the id of the job that equal requests under way share
    taken:ID        a retry has come for this job
    of:DIGEST       the jobs of a caller that run, to bound them
    alive:PROCESS   it is; what it wrote as running is, too
    told:PROCESS    what others want of it: to store an answer, to cancel a job

Without an answer from what is shared, a process knows its own jobs only.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from proxy.blobs.retention import RESULTS_PREFIX
from proxy.blobs.store import BlobStore
from proxy.errors import Overloaded
from proxy.jobs.cluster_record import JobRecord, decode, encode
from proxy.jobs.job import Job, JobKey, key_reused_error
from proxy.jobs.recording import Recording
from proxy.jobs.store import JobStore
from proxy.state.ops import (
    AcquireSlot,
    Append,
    CompareAndSet,
    Delete,
    Get,
    List,
    Op,
    PopAll,
    ReleaseSlot,
    Set,
    SetIfAbsent,
    StateStore,
    StoreUnavailable,
)

_HEARTBEAT_TTL = 10.0
_LEASE_SECONDS = 150.0
"""How long a job counts against its caller's bound unless that is renewed."""
_UNLIMITED = 1 << 30
_MAX_SAME = 64
_MAX_ACTIONS = 10_000
_DIGEST_BYTES = 32
_RESULT_TYPE = "application/octet-stream"


class DirectoryLimits(NamedTuple):
    """What a board keeps to.

    `each` jobs of one caller run at once, `fails_closed` where they cannot be counted. A record is
    there for `seconds` unless it is renewed.
    """

    per_caller: int
    record_ttl: float
    fails_closed: bool = False


class Lookup(NamedTuple):
    """A record, and whether its owner is alive."""

    job_id: str
    record: JobRecord
    owner_alive: bool


class JobDirectory:
    """What one process writes and reads of jobs. Methods raise `SharedAway` unless they say not."""

    def __init__(self, shared: StateStore, jobs: JobStore, limits: DirectoryLimits) -> None:
        self.process_id = secrets.token_hex(8)
        self._shared = shared
        self._jobs = jobs
        self._limits = limits

    async def claim(self, job: Job, record: JobRecord) -> str | None:
        """Give the id of another process's job that this one is to follow; "": it is made here.

        None: so it is, and nobody knows, as what is shared is away. Raises `Overloaded`,
        `BadRequest`.
        """
        key = job.key
        try:
            if key.idempotency_key:
                return await self._claim_name(
                    job, record, _hashed_key("key", key.caller, key.idempotency_key)
                )
            if key.is_retry and (other := await self.claim_abandoned(key)):
                return other
            if key.coalesce:
                share_key = _hashed_key("share", key.caller, key.digest)
                return await self._claim_name(job, record, share_key)
            await self._register(job, self._registration(job, record))
        except StoreUnavailable:
            if self._limits.fails_closed:
                raise Overloaded(
                    "How many pictures are being made for this gateway key cannot be counted now "
                    "(`redis.limits` is closed). Ask again in a while."
                ) from None
            return None
        return ""

    async def look_up(self, job_id: str) -> Lookup | None:
        """Look a job up by its id, whichever process has it."""
        for _ in range(2):
            if (
                record := decode((await self._shared.execute(Get(_record_key(job_id))))[0])
            ) is None:
                return None
            if not record.alias_of:
                return Lookup(job_id, record, await self._is_alive(record.owner))
            job_id = record.alias_of
        return None

    async def publish(self, records: Iterable[tuple[str, JobRecord, float]]) -> None:
        """Tell of jobs by their ids, each for so many seconds."""
        ops: list[Op] = []
        for job_id, record, ttl in records:
            ops.append(Set(_record_key(job_id), encode(record), ttl))
            if record.state != "running":
                ops.append(ReleaseSlot(_running_key(record.caller), job_id.encode()))
            elif not record.alias_of:
                ops.append(
                    AcquireSlot(
                        _running_key(record.caller), job_id.encode(), _LEASE_SECONDS, _UNLIMITED
                    )
                )
        if ops:
            await self._shared.execute(*ops)

    async def register_again(self, jobs: Iterable[Job]) -> None:
        """Have jobs be found again, where what is shared was not there or has been lost."""
        ops: list[Op] = []
        for job in jobs:
            key, ttl = job.key, 2 * self._limits.record_ttl
            same = _hashed_key("same", key.caller, key.digest)
            ops.append(Append(same, job.id.encode(), ttl, _MAX_SAME))
            if key.idempotency_key:
                place = _hashed_key("key", key.caller, key.idempotency_key)
                ops.append(SetIfAbsent(place, key.digest + job.id.encode(), ttl))
        if ops:
            await self._shared.execute(*ops)

    async def delete(self, job_ids: Iterable[str]) -> None:
        """Tell that there are no such jobs any more."""
        await self._shared.execute(*[Delete(_record_key(name)) for name in job_ids])

    async def request_action(self, owner: str, job_id: str, action: str = "store") -> None:
        """Have a process store the answer of a job, know it is `taken`, or `cancel` it."""
        encoded = msgspec.msgpack.encode((action, job_id))
        await self._shared.execute(
            Append(f"told:{owner}", encoded, self._limits.record_ttl, _MAX_ACTIONS)
        )

    async def heartbeat(self) -> tuple[bool, list[tuple[str, str]]]:
        """Say that this process is alive; gives whether that was known, and what others want."""
        alive_key = f"alive:{self.process_id}"
        known, _, actions = await self._shared.execute(
            Get(alive_key), Set(alive_key, b"", _HEARTBEAT_TTL), PopAll(f"told:{self.process_id}")
        )
        return known is not None, [
            msgspec.msgpack.decode(it, type=tuple[str, str]) for it in actions
        ]

    async def deregister(self) -> None:
        """Say that this process is no more."""
        await self._shared.execute(Delete(f"alive:{self.process_id}"))

    async def _is_alive(self, process_id: str) -> bool:
        return (await self._shared.execute(Get(f"alive:{process_id}")))[0] is not None

    def _registration(self, job: Job, record: JobRecord, *first: Op) -> list[Op]:
        key, ttl = job.key, self._limits.record_ttl
        same = _hashed_key("same", key.caller, key.digest)
        return [
            AcquireSlot(
                _running_key(key.caller), job.id.encode(), _LEASE_SECONDS, self._limits.per_caller
            ),
            Set(_record_key(job.id), encode(record), ttl),
            Append(same, job.id.encode(), 2 * ttl, _MAX_SAME),
            *first,
        ]

    async def _register(self, job: Job, ops: list[Op]) -> Sequence[object]:
        """Carry out what enters a job; raises `Overloaded` where there is no room for it."""
        answers = await self._shared.execute(*ops)
        if not answers[0]:
            await self._unregister(job)
            raise Overloaded(
                f"{self._limits.per_caller} pictures are being made for this gateway key, the most at "
                "once (`limits.caller_jobs`). Ask again once one of them is done."
            )
        return answers

    async def _unregister(self, job: Job) -> None:
        await self._shared.execute(
            Delete(_record_key(job.id)), ReleaseSlot(_running_key(job.key.caller), job.id.encode())
        )

    async def _claim_name(self, job: Job, record: JobRecord, name_key: str) -> str:
        """Begin a job under a name, or give the one that has it."""
        ttl, mine = self._limits.record_ttl, job.key.digest + job.id.encode()
        adding = SetIfAbsent(name_key, mine, 2 * ttl)
        found = (await self._register(job, self._registration(job, record, adding)))[-1]
        while isinstance(found, bytes):
            digest, other = found[:_DIGEST_BYTES], found[_DIGEST_BYTES:].decode()
            if digest != job.key.digest:
                await self._unregister(job)
                raise key_reused_error()
            seen = await self.look_up(other)
            if seen and self._is_joinable(job, seen.record):
                await self._unregister(job)
                return other
            swapped, found = await self._shared.execute(
                CompareAndSet(name_key, found, mine, 2 * ttl), adding
            )
            if swapped:
                break
        return ""

    def _is_joinable(self, job: Job, record: JobRecord) -> bool:
        """Tell whether a job with the same name is as good: shared ones only while they run."""
        return not record.cannot_serve_retry and (
            bool(job.key.idempotency_key) or record.state == "running"
        )

    async def claim_abandoned(self, key: JobKey, *, allow_any: bool = True) -> str:
        """Find the job of another process that a retry belongs to, one that nobody has come for.

        Else any, or "".
        """
        same = _hashed_key("same", key.caller, key.digest)
        job_ids = [it.decode() for it in (await self._shared.execute(List(same)))[0]]
        found = [it for it in await self._look_up_all(job_ids) if not it.record.cannot_serve_retry]
        for it in found:
            if it.record.abandoned or not it.owner_alive:
                taken = SetIfAbsent(f"taken:{it.job_id}", b"", self._limits.record_ttl)
                if (await self._shared.execute(taken))[0] is None:
                    await self.request_action(it.record.owner, it.job_id, "taken")
                    return it.job_id
        return found[0].job_id if found and allow_any else ""

    async def _look_up_all(self, job_ids: list[str]) -> list[Lookup]:
        """Look up those of some jobs that this process does not have itself."""
        others = [name for name in job_ids if not self._jobs.has(name)]
        if not others:
            return []
        records = map(
            decode, await self._shared.execute(*[Get(_record_key(name)) for name in others])
        )
        found = [(name, it) for name, it in zip(others, records, strict=True) if it]
        alive = await self._shared.execute(*[Get(f"alive:{it.owner}") for _, it in found])
        return [
            Lookup(name, it, lives is not None)
            for (name, it), lives in zip(found, alive, strict=True)
        ]


class JobResults:
    """The answers below one place of the store. Every method raises `BlobStoreFailed`."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def put(self, job_id: str, recording: Recording) -> None:
        """Store what is on a tape that has ended; raises `BrokenOffError` too."""
        async with aclosing(recording.chunks()) as chunks:
            await self._blobs.put(_result_path(job_id), chunks, _RESULT_TYPE)

    async def size(self, job_id: str) -> int | None:
        """Give an answer's size in bytes; None when it is not there."""
        return await self._blobs.size(_result_path(job_id))

    async def chunks(self, job_id: str, start: int, size: int) -> AsyncGenerator[bytes, None]:
        """Read an answer of so many bytes, from `start` on."""
        async for chunk in self._blobs.get_range(_result_path(job_id), start, size):
            yield chunk

    async def delete(self, job_id: str) -> None:
        """Give an answer up; one that is not there is no failure."""
        await self._blobs.delete(_result_path(job_id))


def _record_key(job_id: str) -> str:
    return f"job:{job_id}"


def _result_path(job_id: str) -> str:
    return f"{RESULTS_PREFIX}/{job_id}"


def _running_key(caller: str) -> str:
    return _hashed_key("of", caller, b"")


def _hashed_key(kind: str, caller: str, rest: bytes | str) -> str:
    suffix = rest if isinstance(rest, bytes) else rest.encode()
    return (
        f"{kind}:{hashlib.sha256(b'%d:%b%b' % (len(caller), caller.encode(), suffix)).hexdigest()}"
    )
