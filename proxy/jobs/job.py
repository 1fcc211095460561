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
from proxy.jobs.recording import Recording

JobWork = Callable[[Recording], Coroutine[Any, Any, None]]
"""What a job does: fulfil its request, and write the answer on the tape."""


class OwningStore(Protocol):
    """The store that a job belongs to."""

    def evict(self, job: Job) -> None:
        """Forget a job to free what it holds; end it if it still runs."""

    def listener_left(self, job: Job) -> None:
        """Record that a listener of a job has left."""


class JobKey(msgspec.Struct, frozen=True):
    """What a client asks for: `digest` tells it from any other, `key` is its own name for it.

    `retry`: the client has asked before. `shares`: an equal request under way is as good.
    """

    caller: str
    digest: bytes
    idempotency_key: str = ""
    is_retry: bool = False
    coalesce: bool = False


def no_progress() -> None:
    """Know nothing of how far a job is."""


def key_reused_error() -> BadRequest:
    """Give what a request fails with whose Idempotency-Key was used for another one."""
    return BadRequest(
        "This Idempotency-Key was used for another request: send another one with a request that "
        "is not the same.",
        status=422,
        code="idempotency_key_reused",
        param="Idempotency-Key",
    )


def job_cancelled_error() -> GatewayError:
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
    key: JobKey
    recording: Recording
    store: OwningStore
    created_at: float = msgspec.field(default_factory=time.time)
    connection_checks: list[Callable[[], bool]] = []
    deliveries: int = 0
    failure_reported: bool = False
    content_type: str = ""
    task: asyncio.Task[None] | None = None
    expires_at: float = 0.0
    persisted: bool = False
    progress: Callable[[], float | None] = no_progress

    @property
    def listeners(self) -> int:
        """How many wait for it, or read it."""
        return len(self.connection_checks)

    @property
    def has_connected_client(self) -> bool:
        """Whether any of their clients is still there."""
        return any(is_there() for is_there in self.connection_checks)

    @property
    def failed(self) -> bool:
        """Whether it ended without a good answer that somebody could collect."""
        head = self.recording.head
        good = head is not None and not is_error(head.status) and self.recording.failure is None
        return self.recording.ended and not good

    @property
    def has_unreported_charge(self) -> bool:
        """Whether it failed in a way that may have been paid for, and nobody was told."""
        failure = self.recording.failure
        steered = isinstance(failure, ImageError) and failure.headers.get("x-should-retry")
        return self.recording.ended and steered == "false" and not self.failure_reported

    @property
    def status(self) -> str:
        """`running`, `done` or `failed`."""
        if not self.recording.ended:
            return "running"
        return "failed" if self.failed else "done"

    @property
    def manifest(self) -> Manifest:
        """What the next process has to know of it, once it is done."""
        asked, head = self.key, self.recording.head
        assert head is not None  # noqa: S101 - what is done has one
        return Manifest(
            id=self.id,
            caller=asked.caller,
            digest=asked.digest,
            idempotency_key=asked.idempotency_key,
            status=head.status,
            headers=[(str(name), str(value)) for name, value in head.headers.items()],
            size=self.recording.size,
            created_at=self.created_at,
            expires_at=self.expires_at,
            deliveries=self.deliveries,
        )

    def subscribe(self, is_connected: Callable[[], bool]) -> Subscription:
        """Count somebody who waits for this job, while a block lasts."""
        return Subscription(self, is_connected)

    def evict(self) -> None:
        """Be forgotten, and end if it still runs."""
        self.store.evict(self)

    def cancel(self) -> None:
        """End it, if it still runs."""
        if self.task:
            self.task.cancel()


class Subscription:
    """Counts one who waits for a job."""

    __slots__ = ("_is_connected", "_job")

    def __init__(self, job: Job, is_connected: Callable[[], bool]) -> None:
        self._job = job
        self._is_connected = is_connected

    def __enter__(self) -> None:
        """Count from here on."""
        self._job.connection_checks.append(self._is_connected)

    def __exit__(self, *_: object) -> None:
        """Count no longer."""
        self._job.connection_checks.remove(self._is_connected)
        self._job.store.listener_left(self._job)
