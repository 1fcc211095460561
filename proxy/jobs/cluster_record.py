"""What processes that share their jobs tell each other of one: never the answer itself."""

from __future__ import annotations

from typing import Literal, Self

import msgspec

from adapters.errors import ImageError, ProviderError
from proxy.errors import GatewayError, set_headers
from proxy.jobs.job import Job
from proxy.jobs.persistence import check_headers

_KEPT_HEADERS = frozenset({"retry-after", "retry-after-ms", "x-should-retry"})


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job failed with. `doubt`: it may have been paid for, and nobody was told."""

    message: str
    status: int
    type: str
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = {}
    body: bytes | None = None
    doubt: bool = False

    @classmethod
    def of(cls, error: ImageError, *, doubt: bool) -> Self:
        """Write a failure down, with those of its headers that steer a client's retries."""
        return cls(
            error.message,
            error.status,
            error.type,
            error.code,
            error.param,
            {name: it for name, it in error.headers.items() if name.lower() in _KEPT_HEADERS},
            error.body if isinstance(error, ProviderError) else None,
            doubt,
        )

    def as_error(self) -> ImageError:
        """Give it as an error for one more client."""
        error: ImageError
        if self.body is None:
            error = GatewayError(self.message)
        else:
            error = ProviderError(self.message, body=self.body)
        error.status, error.type, error.code = self.status, self.type, self.code
        error.param = self.param
        set_headers(error, self.headers)
        return error


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a job. Only its owner, the process that runs it, writes it.

    `left`: no client waits for it, and none has got it. `stored`: its answer of `size` bytes lies
    in the store. `follows`: it is the job of that id, joined from another process.
    """

    caller: str
    digest: bytes
    owner: str
    began: float
    state: Literal["running", "done", "failed"] = "running"
    left: bool = False
    stored: bool = False
    status: int = 0
    headers: list[tuple[str, str]] = []
    size: int = 0
    failure: Failure | None = None
    follows: str = ""

    def __post_init__(self) -> None:
        """Refuse headers that would break the answer they stand before."""
        check_headers(self.headers, self.size)

    @property
    def is_useless(self) -> bool:
        """Whether nobody has to hear of it: it failed, and whoever had to know was told."""
        return self.failure is not None and not self.failure.doubt


def lost() -> GatewayError:
    """Give what a job fails with whose answer nobody has any more."""
    error = GatewayError(
        "The process that had this picture made is gone, and what the provider answered with it. "
        "It may have been paid for: ask again only if you want another one.",
        status=502,
        code="job_lost",
    )
    error.headers = {"x-should-retry": "false"}
    return error


def record_of(
    job: Job, owner: str, *, stored: bool = False, failure: ImageError | None = None
) -> Record:
    """Give the record of a job, or of one that failed so.

    An answer whose beginning has been given up, or that cannot be told of, is no use to anybody.
    """
    asked, tape = job.key, job.tape
    about = (asked.caller, asked.digest, owner, job.began)
    if failure is None and job.failed:
        found = tape.failure
        failure = found if isinstance(found, ImageError) else GatewayError("The gateway failed.")
    if failure is not None:
        doubt = failure.code == "job_lost" or job.in_doubt
        return Record(*about, state="failed", failure=Failure.of(failure, doubt=doubt))
    left = not (job.is_heard or job.delivered)
    if not tape.ended or tape.head is None:
        return Record(*about, left=left)
    useless = Record(*about, state="failed", failure=Failure.of(lost(), doubt=False))
    if not (stored or (tape.is_whole and tape.size)):
        return useless
    headers = [(str(name), str(value)) for name, value in tape.head.headers.items()]
    done = Record(*about, state="done", left=left, stored=stored, status=tape.head.status)
    try:
        return msgspec.structs.replace(done, headers=headers, size=tape.size)
    except ValueError:
        return useless


def written(record: Record) -> bytes:
    """Write a record."""
    return msgspec.msgpack.encode(record)


def read(data: bytes | None) -> Record | None:
    """Read a record; None where there is none, or what is there cannot be read."""
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=Record)
    except (msgspec.MsgspecError, ValueError):
        return None
