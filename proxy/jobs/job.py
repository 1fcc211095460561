"""A job: one image request being fulfilled, or fulfilled and waiting to be collected.

A `Job` has an identity (`Asked`), a recording of its response, and listeners: the clients that
wait for the response or read it. It ends whether or not a client is left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from adapters.errors import ImageError
from proxy.errors import BadRequest, GatewayError
from proxy.http.status import is_error
from proxy.jobs.persistence import Manifest
from proxy.jobs.recording import Tape

Play = Callable[[Tape], Coroutine[Any, Any, None]]
"""What a job does: fulfil its request, and write the answer on the tape."""


class JobOwner(Protocol):
    """The store that a job belongs to."""

    def evict(self, job: Job) -> None:
        """Forget a job to free what it holds; end it if it still runs."""

    def left(self, job: Job) -> None:
        """Record that a listener of a job has left."""


class Asked(msgspec.Struct, frozen=True):
    """What a client asks for: `digest` tells it from any other, `key` is its own name for it.

    `retry`: the client has asked before. `shares`: an equal request under way is as good.
    """

    caller: str
    digest: bytes
    key: str = ""
    retry: bool = False
    shares: bool = False


def untold() -> None:
    """Know nothing of how far a job is."""


def key_reused() -> BadRequest:
    """Give what a request fails with whose Idempotency-Key was used for another one."""
    return BadRequest(
        "This Idempotency-Key was used for another request: send another one with a request that "
        "is not the same.",
        status=422,
        code="idempotency_key_reused",
        param="Idempotency-Key",
    )


def cancelled() -> GatewayError:
    """Give what a job that was cancelled fails with."""
    error = GatewayError(
        "The job was cancelled.", status=409, type="invalid_request_error", code="job_cancelled"
    )
    # An SDK asks again after a 409: what somebody cancelled would be begun, and paid for, anew.
    error.headers = {"x-should-retry": "false"}
    return error


class Job(msgspec.Struct, eq=False):
    """One image request being fulfilled, or fulfilled and waiting to be collected until `expires`.

    `kind` is the content type that its answer is going to have, "" until a target has taken the
    request: its parameters are good, and translated. `kept`: the next process will have it, too.
    `progress` tells how far it is, 0 to 1, if anybody knows. `waiting` tells of each listener
    whether its client is still there: a listener itself learns that only when it writes.
    """

    id: str
    asked: Asked
    tape: Tape
    owner: JobOwner
    began: float = msgspec.field(default_factory=time.time)
    waiting: list[Callable[[], bool]] = []
    delivered: int = 0
    told: bool = False
    kind: str = ""
    task: asyncio.Task[None] | None = None
    expires: float = 0.0
    kept: bool = False
    progress: Callable[[], float | None] = untold

    @property
    def listeners(self) -> int:
        """How many wait for it, or read it."""
        return len(self.waiting)

    @property
    def is_heard(self) -> bool:
        """Whether any of their clients is still there."""
        return any(is_there() for is_there in self.waiting)

    @property
    def failed(self) -> bool:
        """Whether it ended without a good answer that somebody could collect."""
        head = self.tape.head
        good = head is not None and not is_error(head.status) and self.tape.failure is None
        return self.tape.ended and not good

    @property
    def in_doubt(self) -> bool:
        """Whether it failed in a way that may have been paid for, and nobody was told."""
        failure = self.tape.failure
        steered = isinstance(failure, ImageError) and failure.headers.get("x-should-retry")
        return self.tape.ended and steered == "false" and not self.told

    @property
    def status(self) -> str:
        """`running`, `done` or `failed`."""
        if not self.tape.ended:
            return "running"
        return "failed" if self.failed else "done"

    @property
    def manifest(self) -> Manifest:
        """What the next process has to know of it, once it is done."""
        asked, head = self.asked, self.tape.head
        assert head is not None  # noqa: S101 - what is done has one
        return Manifest(
            id=self.id,
            caller=asked.caller,
            digest=asked.digest,
            key=asked.key,
            status=head.status,
            headers=[(str(name), str(value)) for name, value in head.headers.items()],
            size=self.tape.size,
            began=self.began,
            expires=self.expires,
            delivered=self.delivered,
        )

    def listening(self, is_there: Callable[[], bool]) -> Listening:
        """Count somebody who waits for this job, while a block lasts."""
        return Listening(self, is_there)

    def give_up(self) -> None:
        """Be forgotten, and end if it still runs."""
        self.owner.evict(self)

    def cancel(self) -> None:
        """End it, if it still runs."""
        if self.task:
            self.task.cancel()


class Listening:
    """Counts one who waits for a job."""

    __slots__ = ("_is_there", "_job")

    def __init__(self, job: Job, is_there: Callable[[], bool]) -> None:
        self._job = job
        self._is_there = is_there

    def __enter__(self) -> None:
        """Count from here on."""
        self._job.waiting.append(self._is_there)

    def __exit__(self, *_: object) -> None:
        """Count no longer."""
        self._job.waiting.remove(self._is_there)
        self._job.owner.left(self._job)
