"""Which job is whose: begins them, finds the one that a retry belongs to, parks what is finished.

A retry belongs to a job of the same caller for the same request: to the oldest one whose client has
left, else to any. A fresh request that equals another is another picture.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from adapters.errors import ImageError
from proxy.errors import BadRequest, GatewayError
from proxy.jobs.shelf import Shelf
from proxy.jobs.tape import Tape

Play = Callable[[Tape], Coroutine[Any, Any, None]]
"""What a job does: fulfil its request, and write the answer on the tape."""

_OK_ENDS = 400
CANCELLED = GatewayError(
    "The job was cancelled.", status=409, type="invalid_request_error", code="job_cancelled"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for: `digest` tells it from any other, `key` is its own name for it.

    `retry`: the client has asked before. `shares`: an equal request under way is as good.
    """

    caller: str
    digest: bytes
    key: str = ""
    retry: bool = False
    shares: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """One image request being fulfilled, or fulfilled and waiting to be collected."""

    id: str
    asked: Asked
    tape: Tape
    jobs: Jobs
    began: float = field(default_factory=time.time)
    listeners: int = 0
    delivered: int = 0
    task: asyncio.Task[None] | None = None

    @property
    def failed(self) -> bool:
        """Whether it ended without a good answer that somebody could collect."""
        head = self.tape.head
        good = head is not None and head.status < _OK_ENDS and self.tape.failure is None
        return self.tape.ended and not good

    @property
    def status(self) -> str:
        """`running`, `done` or `failed`."""
        if not self.tape.ended:
            return "running"
        return "failed" if self.failed else "done"

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count somebody who waits for this job, while the block lasts."""
        self.listeners += 1
        try:
            yield
        finally:
            self.listeners -= 1
            self.jobs.left(self)

    def give_up(self) -> None:
        """Be forgotten, and end if it still runs."""
        self.jobs.forget(self)

    def cancel(self) -> None:
        """End it, if it still runs."""
        if self.task:
            self.task.cancel()


class Jobs:
    """Every job of this process, running or parked for `park_seconds`."""

    def __init__(
        self,
        shelf: Shelf,
        folder: Path,
        *,
        park_seconds: float,
        cancels: bool = False,
    ) -> None:
        self._shelf = shelf
        self._folder = folder
        self._park_seconds = park_seconds
        self._cancels = cancels
        self._running: set[int] = set()
        self._by_id: dict[str, Job] = {}
        self._by_digest: dict[tuple[str, bytes], list[Job]] = {}
        self._by_key: dict[tuple[str, str], Job] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    def found(self, asked: Asked) -> Job | None:
        """Find the job that a request belongs to; None: it is to begin one.

        Raises `BadRequest` where its key was used for another request.
        """
        if asked.key and (job := self._by_key.get((asked.caller, asked.key))):
            if job.asked.digest != asked.digest:
                raise BadRequest(
                    "This Idempotency-Key was used for another request: send another one with a "
                    "request that is not the same.",
                    status=422,
                    code="idempotency_key_reused",
                    param="Idempotency-Key",
                )
            return None if self._is_useless(job) else job
        equal = [it for it in self._equal(asked) if not self._is_useless(it)]
        if asked.retry and not asked.key:
            unclaimed = (it for it in equal if not it.listeners and not it.delivered)
            return next(unclaimed, None) or next(iter(equal), None)
        under_way = (it for it in equal if not it.tape.ended)
        return next(under_way, None) if asked.shares and not asked.key else None

    def begin(self, asked: Asked, play: Play) -> Job:
        """Begin a job."""
        name = secrets.token_hex(16)
        job = Job(name, asked, Tape(self._shelf, self._folder / name), self)
        self._by_id[name] = job
        self._by_digest.setdefault((asked.caller, asked.digest), []).append(job)
        if asked.key:
            self._by_key[asked.caller, asked.key] = job
        self._shelf.add(job)
        self._running.add(id(job))
        job.task = asyncio.ensure_future(play(job.tape))
        job.task.add_done_callback(partial(self._ended, job))
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
        if not job.tape.ended:
            if self._cancels:
                job.cancel()
        elif job.id not in self._timers:  # Its time has passed.
            self.forget(job)

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
        if timer := self._timers.pop(job.id, None):
            timer.cancel()
        self._shelf.remove(job)
        job.cancel()

    async def close(self) -> None:
        """End what still runs."""
        tasks = [job.task for job in self._by_id.values() if job.task and not job.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for timer in self._timers.values():
            timer.cancel()

    def _equal(self, asked: Asked) -> list[Job]:
        return self._by_digest.get((asked.caller, asked.digest), [])

    def _is_useless(self, job: Job) -> bool:
        """Tell whether nobody can collect a job: it failed, or its beginning is gone."""
        return job.failed or not job.tape.is_whole

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        """Note how a job ended, for whoever listens to raise, and park it."""
        job.tape.end(CANCELLED if task.cancelled() else task.exception())
        self._running.discard(id(job))
        self._park(job)

    def _park(self, job: Job) -> None:
        if job.id in self._by_id:
            loop = asyncio.get_running_loop()
            self._timers[job.id] = loop.call_later(self._park_seconds, self._expire, job)

    def _expire(self, job: Job) -> None:
        del self._timers[job.id]
        if not job.listeners:  # Else it goes with the last one: see `left`.
            self.forget(job)


def outcome_unknown(error: ImageError) -> bool:
    """Tell whether the provider may have made, and charged, a picture that we know nothing of."""
    return error.code in ("timeout", "connection_lost") or error.type == "timeout_error"
