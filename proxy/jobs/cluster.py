"""Keeps the board true of this process's jobs, and gets the answers of other processes' jobs.

What a job comes to is told when it changes, by one task and many at a time; the request itself
waits for the board only once, before anything is ordered. An answer that nobody has got is stored
where all processes can read it, and so is any other that one of them asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import islice
from typing import Self

from multidict import CIMultiDict

from adapters.errors import ImageError
from proxy.errors import BlobStoreFailed
from proxy.jobs.cluster_record import Record, lost, record_of
from proxy.jobs.directory import Answers, Board, Seen
from proxy.jobs.job import Asked, Job
from proxy.jobs.recording import BrokenOffError, Tape
from proxy.jobs.store import Jobs
from proxy.state.ops import SharedAway, SharedGone

_BEAT_SECONDS = 0.25
_AWAY_SECONDS = 1.0
_RENEWED_SECONDS = 60.0
_GRACE_SECONDS = 3.0
"""How long a process must have been silent, or a record be missing, until a job is lost."""
_FIRST_LOOK, _LAST_LOOK, _LOOKS_GROW = 0.05, 1.0, 1.5
_WANTED_AGAIN_SECONDS = 3.0
_STORED_AT_ONCE = 8
_TOLD_AT_ONCE = 200


class Sharing:
    """The jobs of this process as others see them, and theirs; run as a context."""

    def __init__(self, board: Board, jobs: Jobs, answers: Answers, seconds: float) -> None:
        self._board = board
        self._jobs = jobs
        self._answers = answers
        self._seconds = seconds
        self._changed: dict[str, Job] = {}
        self._news = asyncio.Event()
        self._wanted: set[str] = set()
        self._left: set[str] = set()
        self._stored: dict[str, float] = {}
        self._room = asyncio.Semaphore(_STORED_AT_ONCE)
        self._storing: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._following: set[str] = set()
        self._keeps_all = False
        self._unknown: set[str] = set()
        """Jobs that others may not find: of when what is shared was not there, or has lost them."""
        self._is_away = False
        self._is_left_alone = False
        self._renewed = time.monotonic()

    async def __aenter__(self) -> Self:
        self._jobs.told = self._note
        self._note_all()
        self._tasks = [asyncio.create_task(it) for it in (self._telling(), self._beating())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave no job on the board that is not to be had any more."""
        self._jobs.told = _nobody
        for task in (*self._tasks, *self._storing.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._storing.values(), return_exceptions=True)
        gone = [
            (job.id, self._record(job, lost()), self._seconds)
            for job in self._jobs.all()
            if not job.tape.ended and job.id not in self._following
        ]
        with contextlib.suppress(SharedAway):
            await self._board.write(gone)
            await self._board.leave()

    async def claim(self, job: Job) -> str:
        """Give the id of another process's job that this one is to follow; "": it is made here."""
        other = await self._board.claim(job, self._record(job))
        if other is None:
            self._unknown.add(job.id)
            self._note(job)
        elif other:
            self._following.add(job.id)
        return other or ""

    async def left_behind(self, asked: Asked) -> str:
        """Find a job of another process that nobody has come for; "" where there is none."""
        with contextlib.suppress(SharedAway):
            return await self._board.left_behind(asked, any_is_good=False)
        return ""

    async def found(self, caller: str, name: str) -> Seen | None:
        """Find a caller's job of another process by its id."""
        try:
            seen = await self._board.seen(name)
        except SharedAway:
            return None
        return seen if seen and seen.record.caller == caller else None

    async def cancel(self, seen: Seen) -> None:
        """Cancel a job, or forget what it made."""
        with contextlib.suppress(SharedAway, BlobStoreFailed):
            await self._board.want(seen.record.owner, seen.name, "cancel")
            await self._board.erase([seen.name])
            await self._answers.delete(seen.name)

    async def erase(self, job: Job) -> None:
        """Have others know that a job of this process was given up by its client."""
        self._stored.pop(job.id, None)
        with contextlib.suppress(SharedAway, BlobStoreFailed):
            await self._board.erase([job.id])
            await self._answers.delete(job.id)

    async def follow(self, job: Job, name: str) -> None:
        """Have a job get the answer of another process's, once there is one."""
        self._following.add(job.id)
        asked = job.asked
        alias = Record(asked.caller, asked.digest, self._board.process, job.began, follows=name)
        with contextlib.suppress(SharedAway):
            await self._board.write([(job.id, alias, self._seconds)])
        try:
            async with aclosing(self._looks(name)) as looks:
                async for seen in looks:
                    if await self._is_got(seen, job.tape):
                        return
        except ImageError as error:
            if error.code == "job_lost" or error.headers.get("x-should-retry") == "false":
                # It is told once: whoever asks after that wants another picture.
                with contextlib.suppress(SharedAway):
                    await self._board.erase([name])
            raise

    def keep(self) -> None:
        """Store whatever is finished, from now on, for the processes that stay."""
        if not self._keeps_all:
            self._keeps_all = True
            self._begin_storing(self._jobs.all())
            self._note_all()

    async def kept(self) -> None:
        """Wait until all that is finished is stored, and told of if anybody can be told.

        Where nobody ever can it is kept on disk, as by a process that is alone.
        """
        self.keep()
        while self._storing or (self._changed and not self._is_away):  # noqa: ASYNC110 - two tasks bring it about
            await asyncio.sleep(_FIRST_LOOK)
        if self._is_left_alone:
            await self._jobs.keep()

    @property
    def unkept(self) -> int:
        """How many answers that nobody has got are not stored."""
        if self._is_left_alone:
            return self._jobs.unkept
        return sum(self._is_to_store(job) and not job.delivered for job in self._jobs.all())

    async def _looks(self, name: str) -> AsyncGenerator[Seen, None]:
        """Look at a job of another process again and again; raises `lost` once it cannot come."""
        pause, missed, wanted = _FIRST_LOOK, 0.0, 0.0
        while True:
            now = time.monotonic()
            try:
                seen = await self._board.seen(name)
                if seen and seen.alive and not seen.record.stored and now >= wanted:
                    await self._board.want(seen.record.owner, name)
                    wanted = now + _WANTED_AGAIN_SECONDS
            except SharedAway:
                missed = 0.0
            else:
                good = seen and (seen.alive or seen.record.stored or seen.record.failure)
                missed = 0.0 if good else missed or now
                if missed and now - missed >= _GRACE_SECONDS:
                    raise lost()
                if seen:
                    yield seen
            await asyncio.sleep(pause)
            pause = min(pause * _LOOKS_GROW, _LAST_LOOK)

    async def _is_got(self, seen: Seen, tape: Tape) -> bool:
        """Put on tape what a job came to, if that is known; raises what it failed with."""
        record = seen.record
        if record.failure:
            raise record.failure.as_error()
        if not record.stored:
            return False
        try:
            if tape.head is None and await self._answers.size(seen.name) != record.size:
                raise lost()
            if tape.head is None:
                tape.begin(record.status, CIMultiDict(record.headers))
            pieces = self._answers.pieces(seen.name, tape.size, record.size)
            async with aclosing(pieces):
                async for piece in pieces:
                    await tape.append(piece)
        except BlobStoreFailed:
            return False  # The rest of it may be had in a moment.
        return True

    def _note(self, job: Job) -> None:
        """Have it told what became of a job."""
        if job.id not in self._following:
            self._changed[job.id] = job
            self._news.set()
        elif not self._jobs.has(job.id):
            self._following.discard(job.id)

    def _note_all(self) -> None:
        for job in self._jobs.all():
            self._note(job)

    def _announce_all(self) -> None:
        """Have all be found again."""
        self._unknown.update(job.id for job in self._jobs.all() if job.id not in self._following)
        self._note_all()

    async def _telling(self) -> None:
        """Tell what has changed, as often as it does."""
        while True:
            await self._news.wait()
            self._news.clear()
            # Not all of a thousand in one question: there is a time for each to be answered in.
            changed = dict(islice(self._changed.items(), _TOLD_AT_ONCE))
            for name in changed:
                del self._changed[name]
            if self._changed:
                self._news.set()
            try:
                await self._tell(list(changed.values()))
                self._is_away = False
            except SharedAway as error:
                self._is_away = True
                self._is_left_alone = isinstance(error, SharedGone)
                self._changed = changed | self._changed
                self._news.set()
                await asyncio.sleep(_AWAY_SECONDS)

    async def _tell(self, changed: list[Job]) -> None:
        known = [job for job in changed if self._jobs.has(job.id)]
        self._begin_storing(known)
        if unknown := [job for job in known if job.id in self._unknown]:
            await self._board.announce(unknown)
            self._unknown.difference_update(job.id for job in unknown)
        now = time.time()
        await self._board.write(
            (
                it.id,
                self._record(it),
                max(it.expires - now, 1.0) if it.tape.ended else self._seconds,
            )
            for it in known
        )
        forgotten = [it for it in changed if not self._jobs.has(it.id)]
        if gone := [it.id for it in forgotten if it.id not in self._stored]:
            # Those that wait for a job that was given up are told so.
            failed = [(it.id, self._record(it), self._seconds) for it in forgotten if it.failed]
            await self._board.erase(gone)
            await self._board.write(failed)
        for job in forgotten:
            for names in (self._wanted, self._left, self._unknown):
                names.discard(job.id)

    def _begin_storing(self, jobs: list[Job]) -> None:
        for job in jobs:
            if self._is_to_store(job):
                self._storing[job.id] = asyncio.create_task(self._store(job))

    def _is_to_store(self, job: Job) -> bool:
        tape = job.tape
        if job.id in self._stored or job.id in self._storing or job.failed:
            return False
        if not (tape.ended and tape.size and tape.is_whole):
            return False
        got = job.delivered or job.is_heard
        return not got or self._keeps_all or job.id in self._wanted

    async def _store(self, job: Job) -> None:
        """Store a job's answer, as long as it takes and somebody can come for it."""
        try:
            async with self._room:
                while self._jobs.has(job.id):
                    try:
                        with job.listening(_always):
                            await self._answers.put(job.id, job.tape)
                    except BrokenOffError:
                        return
                    except BlobStoreFailed:
                        await asyncio.sleep(_AWAY_SECONDS)
                    else:
                        self._stored[job.id] = job.expires
                        return
        finally:
            del self._storing[job.id]
            self._note(job)

    async def _beating(self) -> None:
        """Say that this process is alive, hear what others want, and see whose client has gone."""
        was_away = False
        while True:
            try:
                known, told = await self._board.beat()
            except SharedAway as error:
                self._is_left_alone = isinstance(error, SharedGone)
                was_away = True
                await asyncio.sleep(_AWAY_SECONDS)
                continue
            if was_away or not known:
                was_away = False
                self._announce_all()
            for what, name in told:
                self._do(what, name)
            self._look_around()
            await self._clear()
            await asyncio.sleep(_BEAT_SECONDS)

    def _do(self, what: str, name: str) -> None:
        """Do what another process wants."""
        job = self._jobs.get(name)
        if job is None:
            return
        if what == "cancel":
            self._jobs.forget(job)
            return
        if what == "taken":
            job.delivered += 1
        if name not in self._wanted:
            self._wanted.add(name)
            self._note(job)

    def _look_around(self) -> None:
        """Note whose client has left, or is there again; and renew what has been told long ago."""
        running = self._jobs.under_way
        left = {job.id for job in running if not (job.is_heard or job.delivered)}
        for job in running:
            if (job.id in left) != (job.id in self._left):
                self._note(job)
        self._left = left
        if time.monotonic() - self._renewed > _RENEWED_SECONDS:
            self._renewed = time.monotonic()
            for job in running:
                self._note(job)

    async def _clear(self) -> None:
        """Delete what was stored and has waited its time."""
        now = time.time()
        for name in [name for name, until in self._stored.items() if until < now]:
            with contextlib.suppress(BlobStoreFailed):
                await self._answers.delete(name)
            del self._stored[name]

    def _record(self, job: Job, failure: ImageError | None = None) -> Record:
        stored = job.id in self._stored
        return record_of(job, self._board.process, stored=stored, failure=failure)


def _always() -> bool:
    return True


def _nobody(_: Job) -> None:
    """Tell nobody."""
