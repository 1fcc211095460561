"""Which job is whose: begins them, finds the one that a retry belongs to, parks what is finished.

A retry belongs to a job of the same caller for the same request: to the oldest one whose client has
left, else to any. A fresh request that equals another is another picture. So is the retry of a job
that failed, unless that may have been paid for and nobody has been told: then it is told first.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from multidict import CIMultiDict

from adapters.errors import ImageError
from proxy.jobs.budget import Shelf
from proxy.jobs.job import Asked, Job, Play, cancelled, key_reused
from proxy.jobs.limits import Room
from proxy.jobs.persistence import Handover, Manifest
from proxy.jobs.recording import Tape

_ANY = 1 << 60


def _drawn_names() -> Iterator[str]:
    """Give names that nobody can guess: 128 bits each, drawn for many at once."""
    while True:
        drawn = os.urandom(4096).hex()
        yield from (drawn[at : at + 32] for at in range(0, len(drawn), 32))


class Jobs:
    """Every job of this process, running or parked for `park_seconds`."""

    def __init__(
        self,
        shelf: Shelf,
        folder: Path,
        *,
        park_seconds: float,
        cancels: bool = False,
        room: Room | None = None,
    ) -> None:
        self._shelf = shelf
        self._folder = folder
        self._handover = Handover(folder)
        shelf.prepare = self._handover.claim
        self._park_seconds = park_seconds
        self._cancels = cancels
        self._room = room or Room(_ANY, _ANY)
        self._names = _drawn_names()
        self._running: dict[asyncio.Task[None], Job] = {}
        self._by_id: dict[str, Job] = {}
        self._by_digest: dict[tuple[str, bytes], list[Job]] = {}
        self._by_key: dict[tuple[str, str], Job] = {}
        self._parked: OrderedDict[str, float] = OrderedDict()
        """Until when each waits, by the loop's clock. What was parked first goes first."""
        self.lost: dict[str, float] = {"expired": 0, "given_up": 0}
        """How many good answers that nobody had got are gone, and why."""
        self._timer: asyncio.TimerHandle | None = None

        self.told: Callable[[Job], None] = lambda _: None
        """Is called when a job has ended, has nobody left who listens, or is forgotten."""

    def __len__(self) -> int:
        return len(self._by_id)

    def has(self, name: str) -> bool:
        """Tell whether there is a job of that id."""
        return name in self._by_id

    def get(self, name: str) -> Job | None:
        """Give a job by its id, whoever's it is."""
        return self._by_id.get(name)

    def all(self) -> list[Job]:
        """Give every job."""
        return list(self._by_id.values())

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    @property
    def in_memory(self) -> int:
        """How many bytes are held in memory."""
        return self._shelf.in_memory

    @property
    def on_disk(self) -> int:
        """How many bytes are held on disk."""
        return self._shelf.on_disk

    @property
    def unkept(self) -> int:
        """How many answers that nobody has got the next process will not have."""
        return sum(not job.delivered for job in self._to_keep())

    @property
    def under_way(self) -> list[Job]:
        """Give those that run."""
        return list(self._running.values())

    async def open(self) -> None:
        """Take over what an earlier process has kept."""
        try:
            left = await asyncio.to_thread(self._handover.take)
        except OSError as error:
            self._shelf.lose_disk(error)
            return
        for manifest in left:
            self._restore(manifest)
        for manifest in sorted(left, key=lambda it: it.expires):
            # A clock may have been set meanwhile, and the setting.
            seconds = min(manifest.expires - time.time(), self._park_seconds)
            if job := self._by_id.get(manifest.id):  # Else there were too many.
                self._park(job, seconds)
        self._shelf.fit()

    async def keep(self) -> None:
        """Write to disk, for the next process, what is finished and can be collected."""
        try:
            for job in self._to_keep():
                if await self._shelf.keep(job):
                    await self._write(job)
        except OSError as error:
            self._shelf.lose_disk(error)

    def found(self, asked: Asked) -> Job | None:
        """Find the job that a request belongs to; None: it is to begin one.

        Raises `BadRequest` where its key was used for another request.
        """
        if asked.key and (job := self._by_key.get((asked.caller, asked.key))):
            if job.asked.digest != asked.digest:
                raise key_reused()
            return None if self._is_useless(job) else job
        if asked.key or not (asked.retry or asked.shares):
            return None
        equal = [it for it in self._equal(asked) if not self._is_useless(it)]
        if asked.retry:
            unclaimed = (it for it in equal if not it.is_heard and not it.delivered)
            return next(unclaimed, None) or next(iter(equal), None)
        return next((it for it in equal if not it.tape.ended), None)

    def begin(self, asked: Asked, play: Play) -> Job:
        """Begin a job; raises `Overloaded` where too many run."""
        self._room.take(asked.caller)
        name = next(self._names)
        job = Job(name, asked, Tape(self._shelf, f"{self._folder}/{name}"), self)
        self._enter(job)
        job.task = asyncio.create_task(play(job.tape))
        job.task.add_done_callback(partial(self._ended, job))
        self._running[job.task] = job
        return job

    def of(self, caller: str, name: str) -> Job | None:
        """Give a caller's own job by its id."""
        job = self._by_id.get(name)
        return job if job and job.asked.caller == caller else None

    def left(self, job: Job) -> None:
        """Note that one who waited for a job does so no longer."""
        self._shelf.freed()
        if job.listeners:
            return
        self.told(job)
        if job.delivered:
            self._shelf.note(job)
        if not job.tape.ended:
            if self._cancels:
                job.cancel()
        elif job.id not in self._parked:  # Its time has passed.
            self.forget(job)

    def evict(self, job: Job) -> None:
        """Forget a job to free what it holds; end it if it still runs."""
        self.note_lost(job, "given_up")
        self.forget(job)

    def note_lost(self, job: Job, why: str) -> None:
        """Note that a job is about to be forgotten which somebody could have collected."""
        if job.tape.ended and not (job.delivered or job.failed):
            self.lost[why] += 1

    def forget(self, job: Job) -> None:
        """Forget a job, and end it if it still runs."""
        self._by_id.pop(job.id, None)
        equal = self._equal(job.asked)
        if job in equal:
            equal.remove(job)
        if not equal:
            self._by_digest.pop((job.asked.caller, job.asked.digest), None)
        name = (job.asked.caller, job.asked.key)
        if self._by_key.get(name) is job:
            del self._by_key[name]
        self._parked.pop(job.id, None)
        if job.kept:
            self._handover.drop(job.id)
        self._shelf.remove(job)
        job.cancel()
        self.told(job)

    async def close(self) -> None:
        """End what still runs, and leave nothing but what is kept for the next process."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in list(self._by_id.values()):
            if not job.kept:
                self.forget(job)
        if self._timer:
            self._timer.cancel()
        self._handover.close()

    def _enter(self, job: Job) -> None:
        asked = job.asked
        self._by_id[job.id] = job
        self._by_digest.setdefault((asked.caller, asked.digest), []).append(job)
        if asked.key:
            self._by_key[asked.caller, asked.key] = job
        self._shelf.add(job)

    def _restore(self, left: Manifest) -> None:
        asked = Asked(left.caller, left.digest, left.key)
        job = Job(left.id, asked, Tape(self._shelf, f"{self._folder}/{left.id}"), self, left.began)
        job.delivered, job.kept = left.delivered, True
        job.tape.restore(left.status, CIMultiDict(left.headers), left.size)
        self._enter(job)

    def _to_keep(self) -> list[Job]:
        """Give what is to be kept: what nobody has got first, and the newest of each first."""
        ended = [job for job in self._by_id.values() if job.tape.ended and job.tape.size]
        good = [it for it in reversed(ended) if it.tape.is_whole and not (it.kept or it.failed)]
        return sorted(good, key=lambda job: job.delivered > 0)

    async def _write(self, job: Job) -> None:
        job.kept = True  # From now on: the thread goes on where this is cancelled.
        try:
            await asyncio.to_thread(self._handover.write, job.manifest)
        except (FileNotFoundError, ValueError):
            job.kept = False  # It was forgotten meanwhile, or its headers cannot be written.
        except OSError:
            job.kept = False
            raise
        if job.id not in self._by_id:
            self._handover.drop(job.id)

    def _equal(self, asked: Asked) -> list[Job]:
        return self._by_digest.get((asked.caller, asked.digest), [])

    def _is_useless(self, job: Job) -> bool:
        """Tell whether nobody has to hear of a job: it failed, or its beginning is gone."""
        return not job.in_doubt and (job.failed or not job.tape.is_whole)

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        """Note how a job ended, for whoever listens to raise, and park it."""
        failure = cancelled() if task.cancelled() else task.exception()
        if isinstance(failure, ImageError):
            # Its frames hold the whole request, and it is parked.
            failure.__traceback__ = failure.__context__ = failure.__cause__ = None
        job.tape.end(failure)
        job.task = None
        self._running.pop(task, None)
        self._room.leave(job.asked.caller)
        self._park(job, self._park_seconds)
        self.told(job)

    def _park(self, job: Job, seconds: float) -> None:
        """Let a job wait for its client, behind all that are parked."""
        if job.id not in self._by_id:
            return
        loop = asyncio.get_running_loop()
        job.expires = time.time() + seconds
        self._parked[job.id] = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        """Forget what has waited its time, and come back for the next one."""
        self._timer, loop = None, asyncio.get_running_loop()
        while self._parked:
            name, until = next(iter(self._parked.items()))
            if until > loop.time():
                self._timer = loop.call_at(until, self._expire)
                return
            del self._parked[name]
            if not (job := self._by_id[name]).listeners:  # Else it goes with the last: see `left`.
                self.note_lost(job, "expired")
                self.forget(job)
