"""The record of a job that processes of a cluster share: its state, never its response.

A record has at most `MAX_BYTES`, whatever the provider answered: the longest response headers are
left out, and so is a long body of an error.
"""

from __future__ import annotations

from typing import Literal, Self

import msgspec

from adapters.errors import MESSAGE_LIMIT, ImageError, ProviderError
from proxy.errors import GatewayError, set_headers
from proxy.http.headers import drop_longest
from proxy.jobs.job import Job
from proxy.jobs.persistence import validate_headers

MAX_BYTES = 8192
"""Largest record of a job, in bytes."""
_MAX_HEADER_BYTES = 4096
_MAX_BODY_BYTES = 2048
_MAX_FIELD_LENGTH = 128
"""Longest code, type or parameter of an error in a record, in characters."""
_RETRY_HEADERS = frozenset({"retry-after", "retry-after-ms", "x-should-retry"})


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """The failure of a job.

    `unreported_charge`: it may have been charged, and no client was told so.
    """

    message: str
    status: int
    type: str
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = {}
    body: bytes | None = None
    unreported_charge: bool = False

    @classmethod
    def from_error(cls, error: ImageError, *, unreported_charge: bool) -> Self:
        """Return the failure for an error, with those of its headers that control retries."""
        body = error.body if isinstance(error, ProviderError) else None
        retry = [it for it in error.headers.items() if it[0].lower() in _RETRY_HEADERS]
        return cls(
            error.message[:MESSAGE_LIMIT],
            error.status,
            error.type[:_MAX_FIELD_LENGTH],
            error.code and error.code[:_MAX_FIELD_LENGTH],
            error.param and error.param[:_MAX_FIELD_LENGTH],
            dict(drop_longest(retry, _MAX_FIELD_LENGTH * len(_RETRY_HEADERS))),
            body if body is None or len(body) <= _MAX_BODY_BYTES else None,
            unreported_charge,
        )

    def to_error(self) -> ImageError:
        """Return an error to raise for another client."""
        error: ImageError
        if self.body is None:
            error = GatewayError(self.message)
        else:
            error = ProviderError(self.message, body=self.body)
        error.status, error.type, error.code = self.status, self.type, self.code
        error.param = self.param
        set_headers(error, self.headers)
        return error


class JobRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The shared state of a job. Only its owner, the process that runs it, writes it.

    `abandoned`: no client waits for it, and none has got its response. `stored`: its response of
    `size` bytes is in the blob store. `alias_of`: the id of another process's job that it mirrors.
    """

    caller: str
    digest: bytes
    owner: str
    created_at: float
    state: Literal["running", "done", "failed"] = "running"
    abandoned: bool = False
    stored: bool = False
    status: int = 0
    headers: list[tuple[str, str]] = []
    size: int = 0
    failure: Failure | None = None
    alias_of: str = ""

    def __post_init__(self) -> None:
        """Reject headers that would corrupt the response."""
        validate_headers(self.headers, self.size)

    @property
    def cannot_serve_retry(self) -> bool:
        """Whether a retry needs a new job: it failed, and no charge is left to report."""
        return self.failure is not None and not self.failure.unreported_charge


def job_lost_error() -> GatewayError:
    """Return the error for a job whose process, and with it the response, is gone."""
    error = GatewayError(
        "The gateway process that ran this job is gone, and the provider's response with it. The "
        "image may have been charged: send the request again only if you want another one.",
        status=502,
        code="job_lost",
    )
    error.headers = {"x-should-retry": "false"}
    return error


def make_record(
    job: Job, owner: str, *, stored: bool = False, failure: ImageError | None = None
) -> JobRecord:
    """Return the record of a job; with `failure`, of a job that failed with that.

    A response whose start was evicted, or whose headers cannot be encoded, is recorded as lost.
    """
    key, recording = job.key, job.recording
    identity = (key.caller, key.digest, owner, job.created_at)
    if failure is None and job.failed:
        found = recording.failure
        failure = (
            found
            if isinstance(found, ImageError)
            else GatewayError("Internal error in the gateway that ran this job.")
        )
    if failure is not None:
        unreported_charge = failure.code == "job_lost" or job.has_unreported_charge
        return JobRecord(
            *identity,
            state="failed",
            failure=Failure.from_error(failure, unreported_charge=unreported_charge),
        )
    abandoned = not (job.has_connected_client or job.deliveries)
    if not recording.ended or recording.head is None:
        return JobRecord(*identity, abandoned=abandoned)
    unavailable = JobRecord(
        *identity,
        state="failed",
        failure=Failure.from_error(job_lost_error(), unreported_charge=False),
    )
    if not (stored or (recording.is_replayable and recording.size)):
        return unavailable
    given = [(str(name), str(value)) for name, value in recording.head.headers.items()]
    headers = drop_longest(given, _MAX_HEADER_BYTES)
    done = JobRecord(
        *identity, state="done", abandoned=abandoned, stored=stored, status=recording.head.status
    )
    try:
        return msgspec.structs.replace(done, headers=headers, size=recording.size)
    except ValueError:
        return unavailable


def record_size(record: JobRecord) -> int:
    """Return the bytes of a record in the state store."""
    return len(encode(record))


def encode(record: JobRecord) -> bytes:
    """Encode a record for the state store."""
    return msgspec.msgpack.encode(record)


def decode(data: bytes | None) -> JobRecord | None:
    """Decode a record; return None if there is none or it is invalid."""
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=JobRecord)
    except (msgspec.MsgspecError, ValueError):
        return None
