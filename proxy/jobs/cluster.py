"""Publishes this process's jobs in the cluster's directory, and mirrors other processes' jobs.

A request waits for the directory once: it claims its job before anything is ordered from a
provider. Later changes of a job are published in the background, in batches. An undelivered result
is uploaded to the blob store, where all processes can read it, and so is any other that one of
them requests.
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
from proxy.jobs.cluster_record import JobRecord, job_lost_error, make_record, record_size
from proxy.jobs.directory import JobDirectory, JobResults, Lookup
from proxy.jobs.job import Job, JobKey
from proxy.jobs.recording import Recording, RecordingTruncated
from proxy.jobs.shares import DirectoryShares
from proxy.jobs.store import JobStore
from proxy.state.background import run_supervised
from proxy.state.ops import StoreClosed, StoreUnavailable

_HEARTBEAT_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_RENEW_SECONDS = 60.0
_GRACE_SECONDS = 3.0
"""How long a heartbeat or a record must be missing before a job counts as lost."""
_FIRST_POLL, _MAX_POLL, _POLL_GROWTH = 0.05, 1.0, 1.5
_REQUEST_AGAIN_SECONDS = 3.0
_MAX_CONCURRENT_UPLOADS = 8
_PUBLISH_BATCH = 200


class JobCluster:
    """The jobs of this process as others see them, and those of others; run as a context."""

    def __init__(
        self, directory: JobDirectory, jobs: JobStore, results: JobResults, record_ttl: float
    ) -> None:
        self._directory = directory
        self._jobs = jobs
        self._results = results
        self._record_ttl = record_ttl
        self._changed: dict[str, Job] = {}
        self._has_changes = asyncio.Event()
        self._requested: set[str] = set()
        self._abandoned: set[str] = set()
        self._stored_until: dict[str, float] = {}
        self._upload_slots = asyncio.Semaphore(_MAX_CONCURRENT_UPLOADS)
        self._uploads: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._mirrored: set[str] = set()
        self._stores_all = False
        self._shares = DirectoryShares()
        self._unregistered: set[str] = set()
        """Jobs to register again: the state store was unavailable, or has lost its data."""
        self._state_unavailable = False
        self._state_closed = False
        self._renewed_at = time.monotonic()

    async def __aenter__(self) -> Self:
        self._jobs.on_change = self._queue_change
        self._queue_all()
        self._tasks = [
            asyncio.create_task(run_supervised("publication of jobs", self._publish_loop)),
            asyncio.create_task(run_supervised("heartbeat of jobs", self._heartbeat_loop)),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Publish unfinished jobs as lost, and leave the cluster."""
        self._jobs.on_change = _ignore
        for task in (*self._tasks, *self._uploads.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._uploads.values(), return_exceptions=True)
        unfinished = [
            (job.id, self._record(job, job_lost_error()), self._record_ttl)
            for job in self._jobs.all()
            if not job.recording.ended and job.id not in self._mirrored
        ]
        with contextlib.suppress(StoreUnavailable):
            await self._directory.publish(unfinished)
            await self._directory.deregister()

    async def claim(self, job: Job) -> str:
        """Claim a job for this process; return "", or the id of a job elsewhere to mirror."""
        other = await self._directory.claim(job, self._record(job))
        if other is None:
            self._unregistered.add(job.id)
            self._queue_change(job)
        elif other:
            self._mirrored.add(job.id)
        return other or ""

    async def claim_abandoned(self, key: JobKey) -> str:
        """Claim another process's abandoned job for a retry; return its id, or ""."""
        with contextlib.suppress(StoreUnavailable):
            return await self._directory.claim_abandoned(key, allow_any=False)
        return ""

    async def look_up(self, caller: str, job_id: str) -> Lookup | None:
        """Look up a caller's job of another process by its id."""
        try:
            found = await self._directory.look_up(job_id)
        except StoreUnavailable:
            return None
        return found if found and found.record.caller == caller else None

    async def cancel(self, found: Lookup) -> None:
        """Cancel another process's job, or delete its result."""
        with contextlib.suppress(StoreUnavailable, BlobStoreFailed):
            await self._directory.request_action(found.record.owner, found.job_id, "cancel")
            await self._directory.delete([found.job_id])
            await self._results.delete(found.job_id)

    async def delete(self, job: Job) -> None:
        """Publish that a job of this process was deleted by its client."""
        self._stored_until.pop(job.id, None)
        with contextlib.suppress(StoreUnavailable, BlobStoreFailed):
            await self._directory.delete([job.id])
            await self._results.delete(job.id)

    async def mirror(self, job: Job, job_id: str) -> None:
        """Copy the result of another process's job `job_id` to `job` when it is there.

        Raises the failure of that job.
        """
        self._mirrored.add(job.id)
        key = job.key
        alias = JobRecord(
            key.caller, key.digest, self._directory.process_id, job.created_at, alias_of=job_id
        )
        with contextlib.suppress(StoreUnavailable):
            await self._directory.publish([(job.id, alias, self._record_ttl)])
        try:
            async with aclosing(self._poll(job_id)) as lookups:
                async for found in lookups:
                    if await self._copy_result(found, job.recording):
                        return
        except ImageError as error:
            if error.code == "job_lost" or error.headers.get("x-should-retry") == "false":
                # Reported once: a request after that starts a new job.
                with contextlib.suppress(StoreUnavailable):
                    await self._directory.delete([job_id])
            raise

    def store_all(self) -> None:
        """Upload every result from now on, for the processes that stay."""
        if not self._stores_all:
            self._stores_all = True
            self._start_uploads(self._jobs.all())
            self._queue_all()

    async def wait_until_stored(self) -> None:
        """Wait until all results are uploaded, and published if the state store is available.

        If the state store is closed for good, results are persisted on disk instead.
        """
        self.store_all()
        while self._uploads or (self._changed and not self._state_unavailable):  # noqa: ASYNC110 - two tasks bring it about
            await asyncio.sleep(_FIRST_POLL)
        if self._state_closed:
            await self._jobs.persist()

    @property
    def unsaved_count(self) -> int:
        """Number of undelivered results that are not stored."""
        if self._state_closed:
            return self._jobs.unsaved_count
        return sum(self._should_store(job) and not job.deliveries for job in self._jobs.all())

    async def _poll(self, job_id: str) -> AsyncGenerator[Lookup, None]:
        """Yield the state of another process's job repeatedly; raise a 502 if the job is lost."""
        pause, missing_since, request_at = _FIRST_POLL, 0.0, 0.0
        while True:
            now = time.monotonic()
            try:
                found = await self._directory.look_up(job_id)
                if found and found.owner_alive and not found.record.stored and now >= request_at:
                    await self._directory.request_action(found.record.owner, job_id)
                    request_at = now + _REQUEST_AGAIN_SECONDS
            except StoreUnavailable:
                missing_since = 0.0
            else:
                available = found and (
                    found.owner_alive or found.record.stored or found.record.failure
                )
                missing_since = 0.0 if available else missing_since or now
                if missing_since and now - missing_since >= _GRACE_SECONDS:
                    raise job_lost_error()
                if found:
                    yield found
            await asyncio.sleep(pause)
            pause = min(pause * _POLL_GROWTH, _MAX_POLL)

    async def _copy_result(self, found: Lookup, recording: Recording) -> bool:
        """Copy a stored result to a recording; return whether it is complete.

        Raises the failure of the job.
        """
        record = found.record
        if record.failure:
            raise record.failure.to_error()
        if not record.stored:
            return False
        try:
            if recording.head is None and await self._results.size(found.job_id) != record.size:
                raise job_lost_error()
            if recording.head is None:
                recording.begin(record.status, CIMultiDict(record.headers))
            chunks = self._results.chunks(found.job_id, recording.size, record.size)
            async with aclosing(chunks):
                async for chunk in chunks:
                    await recording.append(chunk)
        except BlobStoreFailed:
            return False  # The next poll continues from here.
        return True

    def _queue_change(self, job: Job) -> None:
        """Queue the job's new state for publication to the cluster."""
        if job.id not in self._mirrored:
            self._changed[job.id] = job
            self._has_changes.set()
        elif not self._jobs.has(job.id):
            self._mirrored.discard(job.id)

    def _queue_all(self) -> None:
        for job in self._jobs.all():
            self._queue_change(job)

    def _register_all_again(self) -> None:
        """Queue all jobs to be registered again."""
        self._unregistered.update(
            job.id for job in self._jobs.all() if job.id not in self._mirrored
        )
        self._queue_all()

    async def _publish_loop(self) -> None:
        """Publish changed jobs in batches."""
        while True:
            await self._has_changes.wait()
            self._has_changes.clear()
            # A thousand jobs in one call could exceed the state store's timeout.
            changed = dict(islice(self._changed.items(), _PUBLISH_BATCH))
            for job_id in changed:
                del self._changed[job_id]
            if self._changed:
                self._has_changes.set()
            try:
                await self._publish(list(changed.values()))
                self._state_unavailable = False
            except StoreUnavailable as error:
                self._state_unavailable = True
                self._state_closed = isinstance(error, StoreClosed)
                self._changed = changed | self._changed
                self._has_changes.set()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _publish(self, changed: list[Job]) -> None:
        present = [job for job in changed if self._jobs.has(job.id)]
        self._start_uploads(present)
        if unregistered := [job for job in present if job.id in self._unregistered]:
            await self._directory.register_again(unregistered)
            self._unregistered.difference_update(job.id for job in unregistered)
        now = time.time()
        await self._publish_records(
            present,
            [
                max(it.expires_at - now, 1.0) if it.recording.ended else self._record_ttl
                for it in present
            ],
        )
        removed = [it for it in changed if not self._jobs.has(it.id)]
        if unstored := [it for it in removed if it.id not in self._stored_until]:
            # Processes that mirror a cancelled job get its failure; a retry only one to report.
            failed = [it for it in unstored if it.failed]
            named = {it.id for it in failed if it.has_unreported_charge}
            await self._forget([(it.id, it.key) for it in unstored if it.id not in named])
            await self._publish_records(failed, [self._record_ttl] * len(failed))
        for job in removed:
            for job_ids in (self._requested, self._abandoned, self._unregistered):
                job_ids.discard(job.id)

    async def _publish_records(self, jobs: list[Job], ttls: list[float]) -> None:
        """Publish jobs with the lifetimes of their records, each caller's within its share."""
        records = [self._record(it) for it in jobs]
        ids = [it.id for it in jobs]
        await self._directory.publish(zip(ids, records, ttls, strict=True))
        evicted: list[tuple[str, JobKey]] = []
        for job, record, ttl in zip(jobs, records, ttls, strict=True):
            if job.recording.ended:
                is_waiting = not (job.failed or job.deliveries or job.has_connected_client)
                evicted += self._shares.add(
                    job.id, job.key, record_size(record), ttl, is_waiting=is_waiting
                )
        await self._forget(evicted)
        for job_id, _ in evicted:
            if (found := self._jobs.get(job_id)) and not found.listeners:
                self._jobs.evict(found)
            if job_id in self._stored_until:
                self._stored_until[job_id] = 0.0  # Deleted with those that expire.

    async def _forget(self, jobs: list[tuple[str, JobKey]]) -> None:
        """Delete jobs from the directory."""
        for job_id, key in jobs:
            self._shares.remove(job_id, key.caller)
        await self._directory.forget(jobs)

    def _start_uploads(self, jobs: list[Job]) -> None:
        for job in jobs:
            if self._should_store(job):
                self._uploads[job.id] = asyncio.create_task(self._upload(job))

    def _should_store(self, job: Job) -> bool:
        recording = job.recording
        if job.id in self._stored_until or job.id in self._uploads or job.failed:
            return False
        if not (recording.ended and recording.size and recording.is_replayable):
            return False
        claimed = job.deliveries or job.has_connected_client
        return not claimed or self._stores_all or job.id in self._requested

    async def _upload(self, job: Job) -> None:
        """Upload a job's result; retry until it is stored or the job is removed."""
        try:
            async with self._upload_slots:
                while self._jobs.has(job.id):
                    try:
                        with job.subscribe(_always_connected):
                            await self._results.put(job.id, job.recording)
                    except RecordingTruncated:
                        return
                    except BlobStoreFailed:
                        await asyncio.sleep(_RETRY_SECONDS)
                    else:
                        self._stored_until[job.id] = job.expires_at
                        return
        finally:
            del self._uploads[job.id]
            self._queue_change(job)

    async def _heartbeat_loop(self) -> None:
        """Renew the heartbeat, handle requested actions, and publish lost clients."""
        was_unavailable = False
        while True:
            try:
                known, actions = await self._directory.heartbeat()
            except StoreUnavailable as error:
                self._state_closed = isinstance(error, StoreClosed)
                was_unavailable = True
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if was_unavailable or not known:
                was_unavailable = False
                self._register_all_again()
            for action, job_id in actions:
                self._handle_action(action, job_id)
            self._check_clients()
            await self._delete_expired()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    def _handle_action(self, action: str, job_id: str) -> None:
        """Handle an action that another process requests for a job."""
        job = self._jobs.get(job_id)
        if job is None:
            return
        if action == "cancel":
            self._jobs.remove(job)
            return
        if action == "taken":
            job.deliveries += 1
        if job_id not in self._requested:
            self._requested.add(job_id)
            self._queue_change(job)

    def _check_clients(self) -> None:
        """Queue running jobs whose client has left or come back, and all of them once a minute."""
        running = self._jobs.running_jobs
        abandoned = {job.id for job in running if not (job.has_connected_client or job.deliveries)}
        for job in running:
            if (job.id in abandoned) != (job.id in self._abandoned):
                self._queue_change(job)
        self._abandoned = abandoned
        if time.monotonic() - self._renewed_at > _RENEW_SECONDS:
            self._renewed_at = time.monotonic()
            for job in running:
                self._queue_change(job)

    async def _delete_expired(self) -> None:
        """Delete expired results from the blob store."""
        now = time.time()
        expired = [job_id for job_id, until in self._stored_until.items() if until < now]
        for job_id in expired:
            with contextlib.suppress(BlobStoreFailed):
                await self._results.delete(job_id)
            del self._stored_until[job_id]

    def _record(self, job: Job, failure: ImageError | None = None) -> JobRecord:
        stored = job.id in self._stored_until
        return make_record(job, self._directory.process_id, stored=stored, failure=failure)


def _always_connected() -> bool:
    return True


def _ignore(_: Job) -> None:
    """Ignore a change."""
