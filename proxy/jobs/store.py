"""The jobs of one process: starts them, finds the job that a retry joins, stores results.

What is promised:

- A job runs to its end, whether or not its client stays connected; its result is stored for
  `jobs.result_ttl_seconds`, in memory or on disk, and survives a restart.
- A retry joins the job of the same caller for the same request: the oldest whose client has
  disconnected and that was not delivered, else any. Retries are known by the client's retry count
  or by its Idempotency-Key. Two equal requests without either are two images.
- Nothing is paid for twice unasked. The retry of a failed job starts a new one; but if the failed
  one may have been charged and no client was told so, the retry gets that failure first.
- A job belongs to its caller: no other caller can find, collect or cancel it.
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
from proxy.observability.bookkeeping import bookkeeping

_UNLIMITED = 1 << 60
_USUAL_KEY_LENGTH = 64
"""Characters of an Idempotency-Key that `BYTES_PER_JOB` includes."""


def _random_ids() -> Iterator[str]:
    """Yield unguessable ids of 128 bits, from one system call for every 256."""
    while True:
        digits = os.urandom(4096).hex()
        yield from (digits[at : at + 32] for at in range(0, len(digits), 32))


class JobStore:
    """The jobs of this process: running, or stored for `result_ttl` seconds."""

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
        """When each stored job expires, by the event loop's clock, earliest first."""
        self.lost_counts: dict[str, float] = {"expired": 0, "evicted": 0}
        """Number of undelivered results that were lost, by reason."""
        self._expiry_timer: asyncio.TimerHandle | None = None

        self.on_change: Callable[[Job], None] = lambda _: None
        """Called when a job has ended, lost its last listener, or was removed."""

    def __len__(self) -> int:
        return len(self._by_id)

    def has(self, job_id: str) -> bool:
        """Whether there is a job of that id."""
        return job_id in self._by_id

    def get(self, job_id: str) -> Job | None:
        """Return a job by its id, of any caller."""
        return self._by_id.get(job_id)

    def all(self) -> list[Job]:
        """Return every job."""
        return list(self._by_id.values())

    @property
    def running_count(self) -> int:
        """Number of running jobs."""
        return len(self._running)

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of recordings in memory."""
        return self._budget.bytes_in_memory

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of recordings on disk."""
        return self._budget.bytes_on_disk

    @property
    def unsaved_count(self) -> int:
        """Number of undelivered results that would not survive a restart."""
        return sum(not job.deliveries for job in self._persistable())

    @property
    def running_jobs(self) -> list[Job]:
        """The running jobs."""
        return list(self._running.values())

    async def restore(self) -> None:
        """Load the results that an earlier process has persisted."""
        try:
            manifests = await asyncio.to_thread(self._result_folder.load)
        except OSError as error:
            self._budget.disable_disk(error)
            return
        for manifest in manifests:
            self._restore_job(manifest)
        for manifest in sorted(manifests, key=lambda it: it.expires_at):
            # The clock or the setting may have been changed since.
            seconds = min(manifest.expires_at - time.time(), self._result_ttl)
            if job := self._by_id.get(manifest.id):  # Else it was evicted: there were too many.
                self._schedule_expiry(job, seconds)
        self._budget.enforce_disk_limit()

    async def persist(self) -> None:
        """Write results that can be collected to disk, for the next process."""
        try:
            for job in self._persistable():
                if await self._budget.flush_to_disk(job):
                    await self._write_result(job)
        except OSError as error:
            self._budget.disable_disk(error)

    def find(self, key: JobKey) -> Job | None:
        """Return the job that a request joins; None if it starts a new one.

        Raises `BadRequest` if its Idempotency-Key was used for a different request.
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
        """Start a job; raise `Overloaded` if too many run."""
        self._limit.acquire(key.caller)
        job_id = next(self._ids)
        job = Job(job_id, key, Recording(self._budget, f"{self._folder}/{job_id}"), self)
        self._register(job)
        job.task = asyncio.create_task(work(job.recording))
        job.task.add_done_callback(partial(self._on_task_done, job))
        self._running[job.task] = job
        return job

    def get_for_caller(self, caller: str, job_id: str) -> Job | None:
        """Return a job by its id if it is the caller's, else None."""
        job = self._by_id.get(job_id)
        return job if job and job.key.caller == caller else None

    def listener_left(self, job: Job) -> None:
        """Record that a listener of a job has left."""
        self._budget.notify_freed()
        if job.listeners:
            return
        self.on_change(job)
        if job.deliveries:
            self._budget.mark_delivered(job)
        if not job.recording.ended:
            if self._cancel_on_disconnect:
                job.cancel()
        elif job.id not in self._expirations:  # It has expired.
            self.remove(job)

    def evict(self, job: Job) -> None:
        """Remove a job to free memory or disk; cancel it if it still runs."""
        self._count_lost(job, "evicted")
        self.remove(job)

    def _count_lost(self, job: Job, reason: str) -> None:
        """Count a job that is about to be removed, if its result was never delivered."""
        if job.recording.ended and not (job.deliveries or job.failed):
            self.lost_counts[reason] += 1

    def remove(self, job: Job) -> None:
        """Remove a job, and cancel it if it still runs."""
        self._by_id.pop(job.id, None)
        equal = self._same_request(job.key)
        if job in equal:
            equal.remove(job)
        if not equal:
            self._by_digest.pop((job.key.caller, job.key.digest), None)
        own_key = (job.key.caller, job.key.idempotency_key)
        if self._by_key.get(own_key) is job:
            del self._by_key[own_key]
        self._expirations.pop(job.id, None)
        if job.persisted:
            self._result_folder.remove(job.id)
        self._budget.remove(job)
        job.cancel()
        self.on_change(job)

    async def close(self) -> None:
        """Cancel running jobs, and delete all that is not persisted for the next process."""
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
        key = job.key
        self._by_id[job.id] = job
        self._by_digest.setdefault((key.caller, key.digest), []).append(job)
        if key.idempotency_key:
            self._by_key[key.caller, key.idempotency_key] = job
        self._budget.add(job, key.caller)
        job.recording.add_overhead(max(0, len(key.idempotency_key) - _USUAL_KEY_LENGTH))

    def _restore_job(self, manifest: Manifest) -> None:
        key = JobKey(manifest.caller, manifest.digest, manifest.idempotency_key)
        recording = Recording(self._budget, f"{self._folder}/{manifest.id}")
        job = Job(manifest.id, key, recording, self, manifest.created_at)
        job.deliveries, job.persisted = manifest.deliveries, True
        recording.restore(manifest.status, CIMultiDict(manifest.headers), manifest.size)
        self._register(job)

    def _persistable(self) -> list[Job]:
        """Return the results to persist: undelivered ones first, newest first."""
        ended = [it for it in self._by_id.values() if it.recording.ended and it.recording.size]
        usable = [it for it in ended if it.recording.is_replayable and not it.failed]
        unsaved = [it for it in reversed(usable) if not it.persisted]
        return sorted(unsaved, key=lambda job: job.deliveries > 0)

    async def _write_result(self, job: Job) -> None:
        job.persisted = True  # Set first, because the thread continues if this task is cancelled.
        try:
            await asyncio.to_thread(self._result_folder.write, job.manifest)
        except (FileNotFoundError, ValueError):
            job.persisted = False  # It was removed meanwhile, or its headers cannot be written.
        except OSError:
            job.persisted = False
            raise
        if job.id not in self._by_id:
            self._result_folder.remove(job.id)

    def _same_request(self, key: JobKey) -> list[Job]:
        return self._by_digest.get((key.caller, key.digest), [])

    def _cannot_serve_retry(self, job: Job) -> bool:
        """Whether a job cannot serve a retry: it failed, or the start of its response is gone."""
        return not job.has_unreported_charge and (job.failed or not job.recording.is_replayable)

    def _on_task_done(self, job: Job, task: asyncio.Task[None]) -> None:
        """Record how a job ended, and store it until it expires."""
        failure = job_cancelled_error() if task.cancelled() else task.exception()
        if isinstance(failure, ImageError):
            # Its frames hold the whole request, and the failure is stored.
            failure.__traceback__ = failure.__context__ = failure.__cause__ = None
        job.recording.end(failure)
        job.task = None
        self._running.pop(task, None)
        with bookkeeping("jobs"):
            self._limit.release(job.key.caller)
        with bookkeeping("jobs"):
            if job.failed and not job.has_unreported_charge and job.id in self._by_id:
                self._budget.mark_delivered(job)  # No retry joins it.
        self._schedule_expiry(job, self._result_ttl)
        with bookkeeping("jobs"):
            self.on_change(job)

    def _schedule_expiry(self, job: Job, seconds: float) -> None:
        """Schedule an ended job to expire in `seconds`, after all that are stored already."""
        if job.id not in self._by_id:
            return
        loop = asyncio.get_running_loop()
        job.expires_at = time.time() + seconds
        self._expirations[job.id] = loop.time() + seconds
        if self._expiry_timer is None:
            self._expiry_timer = loop.call_later(seconds, self._expire_due)

    def _expire_due(self) -> None:
        """Remove expired jobs, and set the timer for the next one."""
        self._expiry_timer, loop = None, asyncio.get_running_loop()
        while self._expirations:
            job_id, expires = next(iter(self._expirations.items()))
            if expires > loop.time():
                self._expiry_timer = loop.call_at(expires, self._expire_due)
                return
            del self._expirations[job_id]
            if not (job := self._by_id[job_id]).listeners:  # Else see `listener_left`.
                self._count_lost(job, "expired")
                self.remove(job)
