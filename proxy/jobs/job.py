"""A job: one image request in progress, or finished and waiting to be collected.

A `Job` has a key (what was requested, and by whom), a recording of its response, and listeners:
requests that wait for the response or read it. It runs to its end whether or not a client is left.
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
from proxy.observability.bookkeeping import bookkeeping

JobWork = Callable[[Recording], Coroutine[Any, Any, None]]
"""The work of a job: fulfil the request and write the response to the recording."""


class OwningStore(Protocol):
    """The store that a job belongs to."""

    def evict(self, job: Job) -> None:
        """Remove a job to free memory or disk; cancel it if it still runs."""

    def listener_left(self, job: Job) -> None:
        """Record that a listener of a job has left."""


class JobKey(msgspec.Struct, frozen=True):
    """What identifies a request to its job.

    `digest` is the SHA-256 of what is requested, `idempotency_key` the client's own name for it,
    "" for none. `is_retry`: the client has sent the request before. `coalesce`: the request may
    share an equal one in progress.
    """

    caller: str
    digest: bytes
    idempotency_key: str = ""
    is_retry: bool = False
    coalesce: bool = False


def no_progress() -> None:
    """Report no progress (the default callback)."""


def key_reused_error() -> BadRequest:
    """Return the error for an Idempotency-Key that was used with a different request."""
    return BadRequest(
        "This Idempotency-Key was already used for a different request. Send a new key with each "
        "new request.",
        status=422,
        code="idempotency_key_reused",
        param="Idempotency-Key",
    )


def job_cancelled_error() -> GatewayError:
    """Return the error that a cancelled job ends with."""
    error = GatewayError(
        "The job was cancelled.", status=409, type="invalid_request_error", code="job_cancelled"
    )
    # SDKs retry after a 409: the cancelled request would be started, and paid for, again.
    error.headers = {"x-should-retry": "false"}
    return error


class Job(msgspec.Struct, eq=False):
    """One image request in progress, or finished and stored until `expires_at`.

    `created_at` and `expires_at` are in seconds since the epoch. `deliveries` counts the clients
    that got the whole response. `failure_reported`: a client was sent its failure. `content_type`
    is that of the coming response, "" until a target has accepted the request's parameters.
    `persisted`: the result survives a restart. `progress` returns 0 to 1, or None if unknown.
    `connection_checks` has one function for each listener that returns whether its client is
    connected: the listener itself notices a disconnect only when it writes.
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
        """Number of requests that wait for the response or read it."""
        return len(self.connection_checks)

    @property
    def has_connected_client(self) -> bool:
        """Whether the client of any listener is still connected."""
        return any(is_connected() for is_connected in self.connection_checks)

    @property
    def failed(self) -> bool:
        """Whether it ended without a successful response."""
        head = self.recording.head
        success = head is not None and not is_error(head.status) and self.recording.failure is None
        return self.recording.ended and not success

    @property
    def has_unreported_charge(self) -> bool:
        """Whether it failed after it may have been charged, and no client was told so yet."""
        failure = self.recording.failure
        retry = isinstance(failure, ImageError) and failure.headers.get("x-should-retry")
        return self.recording.ended and retry == "false" and not self.failure_reported

    @property
    def status(self) -> str:
        """`running`, `done` or `failed`."""
        if not self.recording.ended:
            return "running"
        return "failed" if self.failed else "done"

    @property
    def manifest(self) -> Manifest:
        """The metadata of a finished job, for the next process."""
        key, head = self.key, self.recording.head
        assert head is not None  # noqa: S101 - a finished job has one
        return Manifest(
            id=self.id,
            caller=key.caller,
            digest=key.digest,
            idempotency_key=key.idempotency_key,
            status=head.status,
            headers=[(str(name), str(value)) for name, value in head.headers.items()],
            size=self.recording.size,
            created_at=self.created_at,
            expires_at=self.expires_at,
            deliveries=self.deliveries,
        )

    def subscribe(self, is_connected: Callable[[], bool]) -> Subscription:
        """Return a context in which a client counts as a listener."""
        return Subscription(self, is_connected)

    def evict(self) -> None:
        """Remove it from its store, and cancel it if it still runs."""
        self.store.evict(self)

    def cancel(self) -> None:
        """Cancel it, if it still runs."""
        if self.task:
            self.task.cancel()


class Subscription:
    """Counts one client as a listener of a job, while the context is open."""

    __slots__ = ("_is_connected", "_job")

    def __init__(self, job: Job, is_connected: Callable[[], bool]) -> None:
        self._job = job
        self._is_connected = is_connected

    def __enter__(self) -> None:
        """Add the listener."""
        self._job.connection_checks.append(self._is_connected)

    def __exit__(self, *_: object) -> None:
        """Remove the listener."""
        self._job.connection_checks.remove(self._is_connected)
        with bookkeeping("jobs"):
            self._job.store.listener_left(self._job)
