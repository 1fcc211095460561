"""One attempt at one target, and what is known of it: retries, images, what goes to the client.

They are made for each request: a msgspec Struct takes a tenth of a frozen dataclass's time for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from adapters.contract import Answer, Image, ImageCall
from adapters.errors import ImageError
from adapters.table.receipt import Receipt
from proxy.errors import may_have_been_charged
from proxy.routing.plan import Target

_NO_RECEIPT = Receipt()
_MAX_LOGGED_ATTEMPTS = 30
"""Attempts that are told of one request: its last ones."""

MadeImages = tuple[tuple[Image, Target], ...]
"""Pictures, each with the target that made it."""

ByteTee = Callable[[Image, bytes, AsyncIterator[bytes]], AsyncIterator[bytes]]
"""Gives on the bytes of a picture that come after its first ones, and looks at all of them."""


class ResponseCapture:
    """One answer as it goes to the client: its bytes, up to `limit`; past it, nothing.

    Of an answer that is put together here it holds the `answers` that it consists of instead, and
    `watch` sees the bytes of each picture that comes from a URL.
    """

    __slots__ = (
        "_remaining",
        "_limit",
        "answers",
        "chunks",
        "complete",
        "content_type",
        "discarded",
        "status",
        "tee",
    )

    def __init__(self, limit: int, tee: ByteTee | None = None) -> None:
        self.answers: list[Answer] = []
        self.chunks: list[bytes] | None = []
        self.complete = False
        self.discarded = False
        self.content_type = ""
        self.status = 0
        self.tee = tee
        self._limit = self._remaining = limit

    @property
    def size(self) -> int:
        """How many bytes are held, of the answer or of the pictures in it."""
        return self._limit - max(self._remaining, 0)

    def add_answer(self, answer: Answer) -> None:
        """Note an answer, or a part of one, whose pictures are at hand: no bytes are needed.

        A preview is not held any longer than it takes to go.
        """
        self.chunks = None
        finished = tuple(image for image in answer.images if image.partial_index is None)
        self._remaining -= sum(it.inline_size for it in finished)
        if self._remaining < 0:
            self.discard()
        elif finished or answer.usage:
            self.answers.append(replace(answer, images=finished, body=None))

    def discard(self) -> None:
        """Note that the answer is not the whole answer."""
        self.discarded, self.chunks = True, None
        self.answers.clear()

    def start(self, status: int, content_type: str, length: int | None) -> None:
        """Note the head; an answer known to be too long is not recorded at all."""
        self.status, self.content_type = status, content_type
        if length is not None and length > self._remaining:
            self.chunks = None

    def add_chunk(self, chunk: bytes) -> None:
        """Keep a chunk (the same object, no copy), or give up once it is too much."""
        if self.chunks is None:
            return
        self._remaining -= len(chunk)
        if self._remaining < 0:
            self.chunks = None
        else:
            self.chunks.append(chunk)


class AttemptLog(msgspec.Struct, frozen=True):
    """How the attempt at one target ended: with `ok`, or with the word for its failure."""

    target: str
    provider: str
    status: int
    ended: str
    retries: int
    ms: float


class RequestTimeline(msgspec.Struct):
    """What is noted of one request of a client's on its way; times are of `time.perf_counter`.

    `asked` is when its first request to a provider went, `headed` when the head of its answer did,
    0 before. `tried` are its attempts, the last ones where they are many.
    """

    arrived_at: float
    first_upstream_at: float = 0.0
    first_byte_at: float = 0.0
    attempts: deque[AttemptLog] | None = None

    def add_attempt(self, tried: AttemptLog) -> None:
        """Note an attempt that has ended."""
        if self.attempts is None:
            self.attempts = deque(maxlen=_MAX_LOGGED_ATTEMPTS)
        self.attempts.append(tried)


class AttemptBudget(msgspec.Struct):
    """How many more requests may go to providers for one request of a client's.

    `in_doubt`: one of them may have been paid for, and nobody knows what became of it. `hops` is
    how many gateways of our kind the client's request has passed. `trail` is where it is noted.
    """

    remaining: int = 30
    maybe_charged: bool = False
    hops: int = 0
    timeline: RequestTimeline | None = None

    def record_failure(self, error: ImageError) -> None:
        """Note how a request failed."""
        self.maybe_charged = self.maybe_charged or may_have_been_charged(error)


class RetryState(msgspec.Struct):
    """What it took at one target: retries so far, -1 once they were of no use.

    `repeated` counts the requests that were sent once more, of use or not.
    `progress` is how far each call is, 0 to 1, where its provider tells; by `ImageCall.chance`.
    """

    budget: AttemptBudget = msgspec.field(default_factory=AttemptBudget)
    retries: int = 0
    resent: int = 0
    progress: dict[int, float] = {}


class BilledImage(NamedTuple):
    """A picture of an answer. `pixels` are 0 where nobody looked; `kept`: the cache had it."""

    target: Target
    pixels: int = 0
    from_cache: bool = False


class Attempt(msgspec.Struct):
    """One try at one target, and what is known of it so far.

    `made` are the pictures that earlier targets made, and this one was asked for the others.
    `fills`: what this one fails to make, another target will be asked for. `drawn` are the pictures
    that its answer holds.
    """

    target: Target
    params: dict[str, Any]
    raw_body: bytes | None
    calls: tuple[ImageCall, ...] = ()
    receipt: Receipt = _NO_RECEIPT
    cache_status: str = "DISABLED"
    retry_state: RetryState = msgspec.field(default_factory=RetryState)
    capture: ResponseCapture | None = None
    prior_images: MadeImages = ()
    completes_elsewhere: bool = False
    images_out: list[BilledImage] = []

    __repr__ = object.__repr__

    @property
    def model(self) -> str:
        """The model that was named for it, "" where none was."""
        named = self.params.get("model")
        return named if isinstance(named, str) else ""

    @property
    def response_headers(self) -> dict[str, str]:
        """What is told of it to the client."""
        told = {
            "x-portkey-provider": self.target.adapter.id,
            "x-portkey-last-used-option-index": self.target.config_path,
            "x-portkey-retry-attempt-count": str(self.retry_state.retries),
            "x-portkey-cache-status": self.cache_status,
        }
        if receipt := str(self.receipt):
            told["x-easel-receipt"] = receipt
        return told

    def with_prior_images(self, images: Iterable[Image]) -> MadeImages:
        """Give the pictures of earlier targets, and those that this one made."""
        return (*self.prior_images, *[(image, self.target) for image in images])

    @property
    def progress(self) -> float | None:
        """How far its calls are in all, 0 to 1; None where the provider does not tell."""
        told = self.retry_state.progress
        return sum(told.values()) / max(len(self.calls), len(told)) if told else None
