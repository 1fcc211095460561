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
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.job import Job, JobKey, JobWork, job_cancelled_error, key_reused_error
from proxy.jobs.limits import ConcurrencyLimit
from proxy.jobs.persistence import Manifest, ResultFolder
from proxy.jobs.recording import Recording

_UNLIMITED = 1 << 60


def _random_ids() -> Iterator[str]:
    """Give names that nobody can guess: 128 bits each, drawn for many at once."""
    while True:
        drawn = os.urandom(4096).hex()
        yield from (drawn[at : at + 32] for at in range(0, len(drawn), 32))


class JobStore:
    """Every job of this process, running or parked for `park_seconds`."""

    def __init__(
        self,
        budget: RecordingBudget,
        folder: Path,
        *,
        result_ttl: float,
        cancel_on_disconnect: bool = False,
        limit: ConcurrencyLimit | None = None,
    ) -> None:
        self._budget = budget
        self._folder = folder
        self._result_folder = ResultFolder(folder)
        budget.prepare_disk = self._result_folder.lock
        self._result_ttl = result_ttl
        self._cancel_on_disconnect = cancel_on_disconnect
        self._limit = limit or ConcurrencyLimit(_UNLIMITED, _UNLIMITED)
        self._ids = _random_ids()
        self._running: dict[asyncio.Task[None], Job] = {}
        self._by_id: dict[str, Job] = {}
        self._by_digest: dict[tuple[str, bytes], list[Job]] = {}
        self._by_key: dict[tuple[str, str], Job] = {}
        self._expirations: OrderedDict[str, float] = OrderedDict()
        """Until when each waits, by the loop's clock. What was parked first goes first."""
        self.lost_counts: dict[str, float] = {"expired": 0, "given_up": 0}
        """How many good answers that nobody had got are gone, and why."""
        self._expiry_timer: asyncio.TimerHandle | None = None

        self.on_change: Callable[[Job], None] = lambda _: None
        """Is called when a job has ended, has nobody left who listens, or is forgotten."""

    def __len__(self) -> int:
        return len(self._by_id)

    def has(self, job_id: str) -> bool:
        """Tell whether there is a job of that id."""
        return job_id in self._by_id

    def get(self, job_id: str) -> Job | None:
        """Give a job by its id, whoever's it is."""
        return self._by_id.get(job_id)

    def all(self) -> list[Job]:
        """Give every job."""
        return list(self._by_id.values())

    @property
    def running_count(self) -> int:
        """How many run."""
        return len(self._running)

    @property
    def bytes_in_memory(self) -> int:
        """How many bytes are held in memory."""
        return self._budget.bytes_in_memory

    @property
    def bytes_on_disk(self) -> int:
        """How many bytes are held on disk."""
        return self._budget.bytes_on_disk

    @property
    def unsaved_count(self) -> int:
        """How many answers that nobody has got the next process will not have."""
        return sum(not job.deliveries for job in self._persistable())

    @property
    def running_jobs(self) -> list[Job]:
        """Give those that run."""
        return list(self._running.values())

    async def restore(self) -> None:
        """Take over what an earlier process has kept."""
        try:
            left = await asyncio.to_thread(self._result_folder.load)
        except OSError as error:
            self._budget.disable_disk(error)
            return
        for manifest in left:
            self._restore_job(manifest)
        for manifest in sorted(left, key=lambda it: it.expires_at):
            # A clock may have been set meanwhile, and the setting.
            seconds = min(manifest.expires_at - time.time(), self._result_ttl)
            if job := self._by_id.get(manifest.id):  # Else there were too many.
                self._schedule_expiry(job, seconds)
        self._budget.enforce_disk_limit()

    async def persist(self) -> None:
        """Write to disk, for the next process, what is finished and can be collected."""
        try:
            for job in self._persistable():
                if await self._budget.flush_to_disk(job):
                    await self._write_result(job)
        except OSError as error:
            self._budget.disable_disk(error)

    def find(self, key: JobKey) -> Job | None:
        """Find the job that a request belongs to; None: it is to begin one.

        Raises `BadRequest` where its key was used for another request.
        """
        if key.idempotency_key and (job := self._by_key.get((key.caller, key.idempotency_key))):
            if job.key.digest != key.digest:
                raise key_reused_error()
            return None if self._cannot_serve_retry(job) else job
        if key.idempotency_key or not (key.is_retry or key.coalesce):
            return None
        equal = [it for it in self._same_request(key) if not self._cannot_serve_retry(it)]
        if key.is_retry:
            unclaimed = (it for it in equal if not it.has_connected_client and not it.deliveries)
            return next(unclaimed, None) or next(iter(equal), None)
        return next((it for it in equal if not it.recording.ended), None)

    def start(self, key: JobKey, work: JobWork) -> Job:
        """Begin a job; raises `Overloaded` where too many run."""
        self._limit.acquire(key.caller)
        job_id = next(self._ids)
        job = Job(job_id, key, Recording(self._budget, f"{self._folder}/{job_id}"), self)
        self._register(job)
        job.task = asyncio.create_task(work(job.recording))
        job.task.add_done_callback(partial(self._on_task_done, job))
        self._running[job.task] = job
        return job

    def get_for_caller(self, caller: str, job_id: str) -> Job | None:
        """Give a caller's own job by its id."""
        job = self._by_id.get(job_id)
        return job if job and job.key.caller == caller else None

    def listener_left(self, job: Job) -> None:
        """Note that one who waited for a job does so no longer."""
        self._budget.notify_freed()
        if job.listeners:
            return
        self.on_change(job)
        if job.deliveries:
            self._budget.mark_delivered(job)
        if not job.recording.ended:
            if self._cancel_on_disconnect:
                job.cancel()
        elif job.id not in self._expirations:  # Its time has passed.
            self.remove(job)

    def evict(self, job: Job) -> None:
        """Forget a job to free what it holds; end it if it still runs."""
        self._count_lost(job, "given_up")
        self.remove(job)

    def _count_lost(self, job: Job, reason: str) -> None:
        """Note that a job is about to be forgotten which somebody could have collected."""
        if job.recording.ended and not (job.deliveries or job.failed):
            self.lost_counts[reason] += 1

    def remove(self, job: Job) -> None:
        """Forget a job, and end it if it still runs."""
        self._by_id.pop(job.id, None)
        equal = self._same_request(job.key)
        if job in equal:
            equal.remove(job)
        if not equal:
            self._by_digest.pop((job.key.caller, job.key.digest), None)
        name = (job.key.caller, job.key.idempotency_key)
        if self._by_key.get(name) is job:
            del self._by_key[name]
        self._expirations.pop(job.id, None)
        if job.persisted:
            self._result_folder.remove(job.id)
        self._budget.remove(job)
        job.cancel()
        self.on_change(job)

    async def close(self) -> None:
        """End what still runs, and leave nothing but what is kept for the next process."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in list(self._by_id.values()):
            if not job.persisted:
                self.remove(job)
        if self._expiry_timer:
            self._expiry_timer.cancel()
        self._result_folder.close()

    def _register(self, job: Job) -> None:
        asked = job.key
        self._by_id[job.id] = job
        self._by_digest.setdefault((asked.caller, asked.digest), []).append(job)
        if asked.idempotency_key:
            self._by_key[asked.caller, asked.idempotency_key] = job
        self._budget.add(job)

    def _restore_job(self, manifest: Manifest) -> None:
        asked = JobKey(manifest.caller, manifest.digest, manifest.idempotency_key)
        job = Job(
            manifest.id,
            asked,
            Recording(self._budget, f"{self._folder}/{manifest.id}"),
            self,
            manifest.created_at,
        )
        job.deliveries, job.persisted = manifest.deliveries, True
        job.recording.restore(manifest.status, CIMultiDict(manifest.headers), manifest.size)
        self._register(job)

    def _persistable(self) -> list[Job]:
        """Give what is to be kept: what nobody has got first, and the newest of each first."""
        ended = [job for job in self._by_id.values() if job.recording.ended and job.recording.size]
        good = [
            it
            for it in reversed(ended)
            if it.recording.is_replayable and not (it.persisted or it.failed)
        ]
        return sorted(good, key=lambda job: job.deliveries > 0)

    async def _write_result(self, job: Job) -> None:
        job.persisted = True  # From now on: the thread goes on where this is cancelled.
        try:
            await asyncio.to_thread(self._result_folder.write, job.manifest)
        except (FileNotFoundError, ValueError):
            job.persisted = False  # It was forgotten meanwhile, or its headers cannot be written.
        except OSError:
            job.persisted = False
            raise
        if job.id not in self._by_id:
            self._result_folder.remove(job.id)

    def _same_request(self, key: JobKey) -> list[Job]:
        return self._by_digest.get((key.caller, key.digest), [])

    def _cannot_serve_retry(self, job: Job) -> bool:
        """Tell whether nobody has to hear of a job: it failed, or its beginning is gone."""
        return not job.has_unreported_charge and (job.failed or not job.recording.is_replayable)

    def _on_task_done(self, job: Job, task: asyncio.Task[None]) -> None:
        """Note how a job ended, for whoever listens to raise, and park it."""
        failure = job_cancelled_error() if task.cancelled() else task.exception()
        if isinstance(failure, ImageError):
            # Its frames hold the whole request, and it is parked.
            failure.__traceback__ = failure.__context__ = failure.__cause__ = None
        job.recording.end(failure)
        job.task = None
        self._running.pop(task, None)
        self._limit.release(job.key.caller)
        self._schedule_expiry(job, self._result_ttl)
        self.on_change(job)

    def _schedule_expiry(self, job: Job, seconds: float) -> None:
        """Let a job wait for its client, behind all that are parked."""
        if job.id not in self._by_id:
            return
        loop = asyncio.get_running_loop()
        job.expires_at = time.time() + seconds
        self._expirations[job.id] = loop.time() + seconds
        if self._expiry_timer is None:
            self._expiry_timer = loop.call_later(seconds, self._expire_due)

    def _expire_due(self) -> None:
        """Forget what has waited its time, and come back for the next one."""
        self._expiry_timer, loop = None, asyncio.get_running_loop()
        while self._expirations:
            name, until = next(iter(self._expirations.items()))
            if until > loop.time():
                self._expiry_timer = loop.call_at(until, self._expire_due)
                return
            del self._expirations[name]
            if not (job := self._by_id[name]).listeners:  # Else it goes with the last: see `left`.
                self._count_lost(job, "expired")
                self.remove(job)
