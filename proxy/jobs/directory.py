"""The job directory of a cluster: a retry finds its job on whichever process it runs.

The state store holds, by key:

    job:ID            the record of a job, written only by its owner
    same:DIGEST       ids of the jobs for one request of one caller, oldest first
    key:DIGEST        request digest and job id of a caller's Idempotency-Key
    share:DIGEST      id of the job in progress that equal requests share
    taken:ID          a retry has claimed this job
    running:DIGEST    running jobs of a caller, for the limit on them
    alive:PROCESS     heartbeat of a process: the jobs it published as running do run
    actions:PROCESS   what others request of it: store a result, count a delivery, cancel a job

The blob store holds the results. While the state store is unavailable, a process knows only its
own jobs.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
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
    RemoveItem,
    Set,
    SetIfAbsent,
    StateStore,
    StoreBusy,
    StoreUnavailable,
)

_LOG = logging.getLogger("easel")

_HEARTBEAT_TTL = 10.0
_LEASE_SECONDS = 150.0
"""How long a job counts against its caller's limit, unless renewed."""
_UNLIMITED = 1 << 30
_MAX_SAME = 64
_MAX_ACTIONS = 10_000
_MAX_PUBLISH_BYTES = 256 * 1024
"""Bytes of records in one call: what other processes ask for waits no longer than for these."""
_LOOKUP_BATCH = 8
"""Records read in one call, for the same reason."""
_DIGEST_BYTES = 32
_RESULT_TYPE = "application/octet-stream"


class DirectoryLimits(NamedTuple):
    """Limits of a directory.

    `per_caller` jobs of one caller run concurrently. If they cannot be counted, new ones are
    refused with `fails_closed`, else started. A record lives for `record_ttl` seconds, unless
    renewed.
    """

    per_caller: int
    record_ttl: float
    fails_closed: bool = False


class Lookup(NamedTuple):
    """The record of a job, and whether the process that owns it is alive."""

    job_id: str
    record: JobRecord
    owner_alive: bool


class JobDirectory:
    """One process's access to the directory. All methods but `claim` raise `StoreUnavailable`."""

    def __init__(self, state: StateStore, jobs: JobStore, limits: DirectoryLimits) -> None:
        self.process_id = secrets.token_hex(8)
        self.damaged_items = 0
        """Number of damaged items of the state store that were skipped."""
        self._state = state
        self._jobs = jobs
        self._limits = limits

    async def claim(self, job: Job, record: JobRecord) -> str | None:
        """Register a job, or return the id of another process's job that it must mirror.

        Waits for its turn at a state store that is busy. Returns "" if the job is registered, None
        if it runs unregistered because the state store is unavailable. Raises `Overloaded` or
        `BadRequest`.
        """
        key = job.key
        try:
            if key.idempotency_key:
                own_key = _hashed_key("key", key.caller, key.idempotency_key)
                return await self._claim_name(job, record, own_key)
            if key.is_retry and (other := await self.claim_abandoned(key)):
                return other
            if key.coalesce:
                share_key = _hashed_key("share", key.caller, key.digest)
                return await self._claim_name(job, record, share_key)
            await self._register(job, self._registration(job, record))
        except StoreBusy:
            # To order without the claim would be to order what another process may have ordered.
            raise Overloaded(
                "The shared state of this gateway is busy, so it cannot be known whether this "
                "image is in progress already. Retry later."
            ) from None
        except StoreUnavailable:
            if self._limits.fails_closed:
                raise Overloaded(
                    "The images in progress for this gateway key cannot be counted now, because "
                    "the shared state store is unavailable (`redis.limits` is closed). Retry later."
                ) from None
            return None
        return ""

    async def look_up(self, job_id: str) -> Lookup | None:
        """Look up a job of any process by its id."""
        for _ in range(2):
            (data,) = await self._state.execute(Get(_record_key(job_id)))
            if (record := decode(data)) is None:
                return None
            if not record.alias_of:
                return Lookup(job_id, record, await self._is_alive(record.owner))
            job_id = record.alias_of
        return None

    async def publish(self, records: Iterable[tuple[str, JobRecord, float]]) -> None:
        """Write records of jobs, each with its id and its TTL in seconds."""
        ops: list[Op] = []
        size = 0
        for job_id, record, ttl in records:
            encoded = encode(record)
            if ops and size + len(encoded) > _MAX_PUBLISH_BYTES:
                await self._state.execute(*ops)
                ops, size = [], 0
            size += len(encoded)
            ops.append(Set(_record_key(job_id), encoded, ttl))
            running, slot = _running_key(record.caller), job_id.encode()
            if record.state != "running":
                ops.append(ReleaseSlot(running, slot))
            elif not record.alias_of:
                ops.append(AcquireSlot(running, slot, _LEASE_SECONDS, _UNLIMITED))
        if ops:
            await self._state.execute(*ops)

    async def register_again(self, jobs: Iterable[Job]) -> None:
        """Register running jobs again after the state store was unavailable or lost its data."""
        ops: list[Op] = []
        for job in jobs:
            key, ttl = job.key, 2 * self._limits.record_ttl
            same = _hashed_key("same", key.caller, key.digest)
            ops.append(Append(same, job.id.encode(), ttl, _MAX_SAME))
            if key.idempotency_key:
                own_key = _hashed_key("key", key.caller, key.idempotency_key)
                ops.append(SetIfAbsent(own_key, key.digest + job.id.encode(), ttl))
        if ops:
            await self._state.execute(*ops)

    async def delete(self, job_ids: Iterable[str]) -> None:
        """Delete the records of jobs."""
        await self._state.execute(*[Delete(_record_key(job_id)) for job_id in job_ids])

    async def forget(self, jobs: Iterable[tuple[str, JobKey]]) -> None:
        """Delete all that the directory has of jobs: records, and the names that lead to them."""
        ops: list[Op] = []
        for job_id, key in jobs:
            mine = job_id.encode()
            ops.append(Delete(_record_key(job_id)))
            ops.append(RemoveItem(_hashed_key("same", key.caller, key.digest), mine))
            if key.idempotency_key:
                own_key = _hashed_key("key", key.caller, key.idempotency_key)
                ops.append(CompareAndSet(own_key, key.digest + mine, None, 0))
            elif key.coalesce:
                share_key = _hashed_key("share", key.caller, key.digest)
                ops.append(CompareAndSet(share_key, key.digest + mine, None, 0))
        if ops:
            await self._state.execute(*ops)

    async def request_action(self, owner: str, job_id: str, action: str = "store") -> None:
        """Request that a process `store`s a job's result, counts it as `taken`, or `cancel`s it."""
        encoded, ttl = msgspec.msgpack.encode((action, job_id)), self._limits.record_ttl
        await self._state.execute(Append(f"actions:{owner}", encoded, ttl, _MAX_ACTIONS))

    async def heartbeat(self) -> tuple[bool, list[tuple[str, str]]]:
        """Renew this process's heartbeat.

        Returns whether the last one was still there, and the requested actions with their job ids.
        """
        alive, inbox = f"alive:{self.process_id}", f"actions:{self.process_id}"
        known, _, actions = await self._state.execute(
            Get(alive), Set(alive, b"", _HEARTBEAT_TTL), PopAll(inbox)
        )
        return known is not None, list(self._decode_actions(actions))

    def _decode_actions(self, actions: list[bytes]) -> Iterator[tuple[str, str]]:
        """Yield requested actions; skip, count and log items that are damaged."""
        damaged = 0
        for item in actions:
            try:
                yield msgspec.msgpack.decode(item, type=tuple[str, str])
            except (msgspec.MsgspecError, ValueError):
                damaged += 1
        if damaged:
            self.damaged_items += damaged
            _LOG.error("skipped damaged items in the shared state: %d so far", self.damaged_items)

    async def deregister(self) -> None:
        """Delete this process's heartbeat."""
        await self._state.execute(Delete(f"alive:{self.process_id}"))

    async def _is_alive(self, process_id: str) -> bool:
        return (await self._state.execute(Get(f"alive:{process_id}")))[0] is not None

    def _registration(self, job: Job, record: JobRecord, *first: Op) -> list[Op]:
        key, ttl = job.key, self._limits.record_ttl
        same = _hashed_key("same", key.caller, key.digest)
        running, limit = _running_key(key.caller), self._limits.per_caller
        return [
            AcquireSlot(running, job.id.encode(), _LEASE_SECONDS, limit),
            Set(_record_key(job.id), encode(record), ttl),
            Append(same, job.id.encode(), 2 * ttl, _MAX_SAME),
            *first,
        ]

    async def _register(self, job: Job, ops: list[Op]) -> Sequence[object]:
        """Execute a registration; raise `Overloaded` if the caller's limit is reached."""
        replies = await self._state.execute(*ops)
        if not replies[0]:
            await self._unregister(job)
            raise Overloaded(
                f"This gateway key already has {self._limits.per_caller} images in progress, its "
                "limit (`limits.caller_jobs`). Retry when one of them is finished."
            )
        return replies

    async def _unregister(self, job: Job) -> None:
        mine = job.id.encode()
        await self._state.execute(
            Delete(_record_key(job.id)),
            ReleaseSlot(_running_key(job.key.caller), mine),
            RemoveItem(_hashed_key("same", job.key.caller, job.key.digest), mine),
        )

    async def _claim_name(self, job: Job, record: JobRecord, name_key: str) -> str:
        """Register a job under a name; return "", or the id of the job that has the name."""
        ttl, mine = self._limits.record_ttl, job.key.digest + job.id.encode()
        adding = SetIfAbsent(name_key, mine, 2 * ttl)
        found = (await self._register(job, self._registration(job, record, adding)))[-1]
        while isinstance(found, bytes):
            digest, other = found[:_DIGEST_BYTES], found[_DIGEST_BYTES:].decode(errors="replace")
            if digest != job.key.digest:
                await self._unregister(job)
                raise key_reused_error()
            seen = await self.look_up(other)
            if seen and self._is_joinable(job, seen.record):
                await self._unregister(job)
                return other
            swapped, found = await self._state.execute(
                CompareAndSet(name_key, found, mine, 2 * ttl), adding
            )
            if swapped:
                break
        return ""

    def _is_joinable(self, job: Job, record: JobRecord) -> bool:
        """Whether `job` joins the one with its name: a shared one only while that runs."""
        return not record.cannot_serve_retry and (
            bool(job.key.idempotency_key) or record.state == "running"
        )

    async def claim_abandoned(self, key: JobKey, *, allow_any: bool = True) -> str:
        """Claim the job of another process that a retry joins: one whose client has disconnected.

        Returns its id. If there is none, returns that of any equal job if `allow_any`, else "".
        """
        same = _hashed_key("same", key.caller, key.digest)
        items = (await self._state.execute(List(same)))[0]
        job_ids = [it.decode(errors="replace") for it in items]
        found = [it for it in await self._look_up_all(job_ids) if not it.record.cannot_serve_retry]
        for it in found:
            if it.record.abandoned or not it.owner_alive:
                taken = SetIfAbsent(f"taken:{it.job_id}", b"", self._limits.record_ttl)
                if (await self._state.execute(taken))[0] is None:
                    await self.request_action(it.record.owner, it.job_id, "taken")
                    return it.job_id
        return found[0].job_id if found and allow_any else ""

    async def _look_up_all(self, job_ids: list[str]) -> list[Lookup]:
        """Look up those jobs that are not this process's own."""
        others = [job_id for job_id in job_ids if not self._jobs.has(job_id)]
        if not others:
            return []
        data: list[bytes | None] = []
        for start in range(0, len(others), _LOOKUP_BATCH):
            batch = others[start : start + _LOOKUP_BATCH]
            data += await self._state.execute(*[Get(_record_key(job_id)) for job_id in batch])
        records = zip(others, map(decode, data), strict=True)
        found = [(job_id, record) for job_id, record in records if record]
        alive = await self._state.execute(*[Get(f"alive:{it.owner}") for _, it in found])
        return [
            Lookup(job_id, record, heartbeat is not None)
            for (job_id, record), heartbeat in zip(found, alive, strict=True)
        ]


class JobResults:
    """Results of jobs in the blob store. Every method raises `BlobStoreFailed`."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def put(self, job_id: str, recording: Recording) -> None:
        """Store an ended recording; raise `RecordingTruncated` if its start is gone."""
        async with aclosing(recording.chunks()) as chunks:
            await self._blobs.put(_result_path(job_id), chunks, _RESULT_TYPE)

    async def size(self, job_id: str) -> int | None:
        """Return a result's size in bytes; None if there is none."""
        return await self._blobs.size(_result_path(job_id))

    async def chunks(self, job_id: str, start: int, size: int) -> AsyncGenerator[bytes, None]:
        """Yield a result of `size` bytes, from offset `start` on."""
        async for chunk in self._blobs.get_range(_result_path(job_id), start, size):
            yield chunk

    async def delete(self, job_id: str) -> None:
        """Delete a result; one that does not exist is no error."""
        await self._blobs.delete(_result_path(job_id))


def _record_key(job_id: str) -> str:
    return f"job:{job_id}"


def _result_path(job_id: str) -> str:
    return f"{RESULTS_PREFIX}/{job_id}"


def _running_key(caller: str) -> str:
    return _hashed_key("running", caller, b"")


def _hashed_key(kind: str, caller: str, rest: bytes | str) -> str:
    """Return a key for something of a caller. The length keeps caller and rest apart."""
    suffix = rest if isinstance(rest, bytes) else rest.encode()
    hashed = hashlib.sha256(b"%d:%b%b" % (len(caller), caller.encode(), suffix))
    return f"{kind}:{hashed.hexdigest()}"
