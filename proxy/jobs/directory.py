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

from proxy.blobs.retention import PARKED
from proxy.blobs.store import Blobs
from proxy.errors import Overloaded
from proxy.jobs.cluster_record import Record, read, written
from proxy.jobs.job import Asked, Job, key_reused
from proxy.jobs.recording import Tape
from proxy.jobs.store import Jobs
from proxy.state.ops import (
    Add,
    Delete,
    Enter,
    Get,
    Items,
    Leave,
    Op,
    Push,
    Put,
    Shared,
    SharedAway,
    Swap,
    Take,
)

_ALIVE_SECONDS = 10.0
_LEASE_SECONDS = 150.0
"""How long a job counts against its caller's bound unless that is renewed."""
_ANY = 1 << 30
_MOST_EQUAL = 64
_MOST_TOLD = 10_000
_DIGEST = 32
_RESULT_TYPE = "application/octet-stream"


class Bounds(NamedTuple):
    """What a board keeps to.

    `each` jobs of one caller run at once, `fails_closed` where they cannot be counted. A record is
    there for `seconds` unless it is renewed.
    """

    each: int
    seconds: float
    fails_closed: bool = False


class Seen(NamedTuple):
    """A record, and whether its owner is alive."""

    name: str
    record: Record
    alive: bool


class Board:
    """What one process writes and reads of jobs. Methods raise `SharedAway` unless they say not."""

    def __init__(self, shared: Shared, jobs: Jobs, bounds: Bounds) -> None:
        self.process = secrets.token_hex(8)
        self._shared = shared
        self._jobs = jobs
        self._bounds = bounds

    async def claim(self, job: Job, record: Record) -> str | None:
        """Give the id of another process's job that this one is to follow; "": it is made here.

        None: so it is, and nobody knows, as what is shared is away. Raises `Overloaded`,
        `BadRequest`.
        """
        asked = job.asked
        try:
            if asked.key:
                return await self._by_name(job, record, _key("key", asked.caller, asked.key))
            if asked.retry and (found := await self.left_behind(asked)):
                return found
            if asked.shares:
                place = _key("share", asked.caller, asked.digest)
                return await self._by_name(job, record, place)
            await self._entered(job, self._entering(job, record))
        except SharedAway:
            if self._bounds.fails_closed:
                raise Overloaded(
                    "How many pictures are being made for this gateway key cannot be counted now "
                    "(`redis.limits` is closed). Ask again in a while."
                ) from None
            return None
        return ""

    async def seen(self, name: str) -> Seen | None:
        """Look a job up by its id, whichever process has it."""
        for _ in range(2):
            if (record := read((await self._shared.ask(Get(_job(name))))[0])) is None:
                return None
            if not record.follows:
                return Seen(name, record, await self._is_alive(record.owner))
            name = record.follows
        return None

    async def write(self, records: Iterable[tuple[str, Record, float]]) -> None:
        """Tell of jobs by their ids, each for so many seconds."""
        ops: list[Op] = []
        for name, record, seconds in records:
            ops.append(Put(_job(name), written(record), seconds))
            if record.state != "running":
                ops.append(Leave(_of(record.caller), name.encode()))
            elif not record.follows:
                ops.append(Enter(_of(record.caller), name.encode(), _LEASE_SECONDS, _ANY))
        if ops:
            await self._shared.ask(*ops)

    async def announce(self, jobs: Iterable[Job]) -> None:
        """Have jobs be found again, where what is shared was not there or has been lost."""
        ops: list[Op] = []
        for job in jobs:
            asked, seconds = job.asked, 2 * self._bounds.seconds
            same = _key("same", asked.caller, asked.digest)
            ops.append(Push(same, job.id.encode(), seconds, _MOST_EQUAL))
            if asked.key:
                place = _key("key", asked.caller, asked.key)
                ops.append(Add(place, asked.digest + job.id.encode(), seconds))
        if ops:
            await self._shared.ask(*ops)

    async def erase(self, names: Iterable[str]) -> None:
        """Tell that there are no such jobs any more."""
        await self._shared.ask(*[Delete(_job(name)) for name in names])

    async def want(self, owner: str, name: str, what: str = "store") -> None:
        """Have a process store the answer of a job, know it is `taken`, or `cancel` it."""
        told = msgspec.msgpack.encode((what, name))
        await self._shared.ask(Push(f"told:{owner}", told, self._bounds.seconds, _MOST_TOLD))

    async def beat(self) -> tuple[bool, list[tuple[str, str]]]:
        """Say that this process is alive; gives whether that was known, and what others want."""
        me = f"alive:{self.process}"
        known, _, told = await self._shared.ask(
            Get(me), Put(me, b"", _ALIVE_SECONDS), Take(f"told:{self.process}")
        )
        return known is not None, [msgspec.msgpack.decode(it, type=tuple[str, str]) for it in told]

    async def leave(self) -> None:
        """Say that this process is no more."""
        await self._shared.ask(Delete(f"alive:{self.process}"))

    async def _is_alive(self, process: str) -> bool:
        return (await self._shared.ask(Get(f"alive:{process}")))[0] is not None

    def _entering(self, job: Job, record: Record, *first: Op) -> list[Op]:
        asked, seconds = job.asked, self._bounds.seconds
        same = _key("same", asked.caller, asked.digest)
        return [
            Enter(_of(asked.caller), job.id.encode(), _LEASE_SECONDS, self._bounds.each),
            Put(_job(job.id), written(record), seconds),
            Push(same, job.id.encode(), 2 * seconds, _MOST_EQUAL),
            *first,
        ]

    async def _entered(self, job: Job, ops: list[Op]) -> Sequence[object]:
        """Carry out what enters a job; raises `Overloaded` where there is no room for it."""
        answers = await self._shared.ask(*ops)
        if not answers[0]:
            await self._undo(job)
            raise Overloaded(
                f"{self._bounds.each} pictures are being made for this gateway key, the most at "
                "once (`limits.caller_jobs`). Ask again once one of them is done."
            )
        return answers

    async def _undo(self, job: Job) -> None:
        await self._shared.ask(Delete(_job(job.id)), Leave(_of(job.asked.caller), job.id.encode()))

    async def _by_name(self, job: Job, record: Record, place: str) -> str:
        """Begin a job under a name, or give the one that has it."""
        seconds, mine = self._bounds.seconds, job.asked.digest + job.id.encode()
        adding = Add(place, mine, 2 * seconds)
        found = (await self._entered(job, self._entering(job, record, adding)))[-1]
        while isinstance(found, bytes):
            digest, other = found[:_DIGEST], found[_DIGEST:].decode()
            if digest != job.asked.digest:
                await self._undo(job)
                raise key_reused()
            seen = await self.seen(other)
            if seen and self._is_to_follow(job, seen.record):
                await self._undo(job)
                return other
            swapped, found = await self._shared.ask(Swap(place, found, mine, 2 * seconds), adding)
            if swapped:
                break
        return ""

    def _is_to_follow(self, job: Job, record: Record) -> bool:
        """Tell whether a job with the same name is as good: shared ones only while they run."""
        return not record.is_useless and (bool(job.asked.key) or record.state == "running")

    async def left_behind(self, asked: Asked, *, any_is_good: bool = True) -> str:
        """Find the job of another process that a retry belongs to, one that nobody has come for.

        Else any, or "".
        """
        same = _key("same", asked.caller, asked.digest)
        names = [it.decode() for it in (await self._shared.ask(Items(same)))[0]]
        found = [it for it in await self._seen_all(names) if not it.record.is_useless]
        for it in found:
            if it.record.left or not it.alive:
                taken = Add(f"taken:{it.name}", b"", self._bounds.seconds)
                if (await self._shared.ask(taken))[0] is None:
                    await self.want(it.record.owner, it.name, "taken")
                    return it.name
        return found[0].name if found and any_is_good else ""

    async def _seen_all(self, names: list[str]) -> list[Seen]:
        """Look up those of some jobs that this process does not have itself."""
        others = [name for name in names if not self._jobs.has(name)]
        if not others:
            return []
        records = map(read, await self._shared.ask(*[Get(_job(name)) for name in others]))
        found = [(name, it) for name, it in zip(others, records, strict=True) if it]
        alive = await self._shared.ask(*[Get(f"alive:{it.owner}") for _, it in found])
        return [
            Seen(name, it, lives is not None)
            for (name, it), lives in zip(found, alive, strict=True)
        ]


class Answers:
    """The answers below one place of the store. Every method raises `BlobStoreFailed`."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def put(self, name: str, tape: Tape) -> None:
        """Store what is on a tape that has ended; raises `BrokenOffError` too."""
        async with aclosing(tape.pieces()) as pieces:
            await self._blobs.put(_result(name), pieces, _RESULT_TYPE)

    async def size(self, name: str) -> int | None:
        """Give an answer's size in bytes; None when it is not there."""
        return await self._blobs.head(_result(name))

    async def pieces(self, name: str, start: int, size: int) -> AsyncGenerator[bytes, None]:
        """Read an answer of so many bytes, from `start` on."""
        async for piece in self._blobs.get_range(_result(name), start, size):
            yield piece

    async def delete(self, name: str) -> None:
        """Give an answer up; one that is not there is no failure."""
        await self._blobs.delete(_result(name))


def _job(name: str) -> str:
    return f"job:{name}"


def _result(name: str) -> str:
    return f"{PARKED}/{name}"


def _of(caller: str) -> str:
    return _key("of", caller, b"")


def _key(kind: str, caller: str, rest: bytes | str) -> str:
    said = rest if isinstance(rest, bytes) else rest.encode()
    return f"{kind}:{hashlib.sha256(b'%d:%b%b' % (len(caller), caller.encode(), said)).hexdigest()}"
