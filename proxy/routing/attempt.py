"""An attempt at one target, and its records: retries, images, timeline, captured response.

They are created for each request, so they are msgspec Structs, as in `plan`.
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
"""How many attempts of a request are logged: the last ones."""

MadeImages = tuple[tuple[Image, Target], ...]
"""Images, each with the target that made it."""

ByteTee = Callable[[Image, bytes, AsyncIterator[bytes]], AsyncIterator[bytes]]
"""Passes on the rest of an image's bytes and reads all of them: image, first bytes, rest."""


class ResponseCapture:
    """A copy of one response to the client, for the cache: its bytes, if at most `limit`.

    For a response that the gateway builds itself it holds the provider's `answers` instead, and
    `tee` reads the bytes of each image that is downloaded.
    """

    __slots__ = (
        "_limit",
        "_remaining",
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
        """How many bytes are held, of the response or of its images."""
        return self._limit - max(self._remaining, 0)

    def add_answer(self, answer: Answer) -> None:
        """Add an answer, or a part of one, that holds its images: the bytes are not captured.

        Previews are left out.
        """
        self.chunks = None
        finished = tuple(image for image in answer.images if image.partial_index is None)
        self._remaining -= sum(it.inline_size for it in finished)
        if self._remaining < 0:
            self.discard()
        elif finished or answer.usage:
            self.answers.append(replace(answer, images=finished, body=None))

    def discard(self) -> None:
        """Discard everything: the capture would be incomplete."""
        self.discarded, self.chunks = True, None
        self.answers.clear()

    def start(self, status: int, content_type: str, length: int | None) -> None:
        """Record status and type; a response known to be too long is not captured at all."""
        self.status, self.content_type = status, content_type
        if length is not None and length > self._remaining:
            self.chunks = None

    def add_chunk(self, chunk: bytes) -> None:
        """Add a chunk (the same object, no copy); drop all chunks once they exceed the limit."""
        if self.chunks is None:
            return
        self._remaining -= len(chunk)
        if self._remaining < 0:
            self.chunks = None
        else:
            self.chunks.append(chunk)


class AttemptLog(msgspec.Struct, frozen=True):
    """How an attempt at one target ended, for the access log: `ok`, or the error code."""

    target: str
    provider: str
    status: int
    ended: str
    retries: int
    ms: float


class RequestTimeline(msgspec.Struct):
    """Times and attempts of one client request; times are of `time.perf_counter`.

    `first_upstream_at` is when the first request to a provider was sent, `first_byte_at` when the
    head of the response was; 0 until then. `attempts` are the last ones, if there are many.
    """

    arrived_at: float
    first_upstream_at: float = 0.0
    first_byte_at: float = 0.0
    attempts: deque[AttemptLog] | None = None

    def add_attempt(self, tried: AttemptLog) -> None:
        """Add an attempt that has ended."""
        if self.attempts is None:
            self.attempts = deque(maxlen=_MAX_LOGGED_ATTEMPTS)
        self.attempts.append(tried)


class AttemptBudget(msgspec.Struct):
    """How many more requests to providers one client request may cause.

    `maybe_charged`: one of them has an unknown outcome and may have been charged. `hops` is the
    number of Easel gateways that the client's request has passed. `timeline` is where attempts are
    recorded.
    """

    remaining: int = 30
    maybe_charged: bool = False
    hops: int = 0
    timeline: RequestTimeline | None = None

    def record_failure(self, error: ImageError) -> None:
        """Record the failure of a request."""
        self.maybe_charged = self.maybe_charged or may_have_been_charged(error)


class RetryState(msgspec.Struct):
    """The retries at one target so far; `retries` is -1 once they were exhausted.

    `resent` counts the requests that were sent again, whether that helped or not. `progress` is
    the progress of each call, 0 to 1, if its provider reports it; by `ImageCall.chance`.
    """

    budget: AttemptBudget = msgspec.field(default_factory=AttemptBudget)
    retries: int = 0
    resent: int = 0
    progress: dict[int, float] = {}


class BilledImage(NamedTuple):
    """An image of a response. `pixels` is 0 if it was not measured."""

    target: Target
    pixels: int = 0
    from_cache: bool = False


class Attempt(msgspec.Struct):
    """An attempt at one target, and its state so far.

    `prior_images` were made by earlier targets; this one is asked for the rest.
    `completes_elsewhere`: images that it fails to make are requested from another target.
    `form` is the one in which the client gets images, `url` or `b64_json`; "" is the provider's.
    `images_out` are the images in its response. `downloads` counts the images behind URLs that its
    replies named and the gateway had to fetch.
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
    downloads: int = 0
    form: str = ""

    __repr__ = object.__repr__

    @property
    def model(self) -> str:
        """The requested model, "" without one."""
        named = self.params.get("model")
        return named if isinstance(named, str) else ""

    @property
    def response_headers(self) -> dict[str, str]:
        """The headers about it in the response to the client."""
        headers = {
            "x-portkey-provider": self.target.adapter.id,
            "x-portkey-last-used-option-index": self.target.config_path,
            "x-portkey-retry-attempt-count": str(self.retry_state.retries),
            "x-portkey-cache-status": self.cache_status,
        }
        if receipt := str(self.receipt):
            headers["x-easel-receipt"] = receipt
        return headers

    def with_prior_images(self, images: Iterable[Image]) -> MadeImages:
        """Return the images of earlier targets, followed by those that this one made."""
        return (*self.prior_images, *[(image, self.target) for image in images])

    @property
    def progress(self) -> float | None:
        """The mean progress of its calls, 0 to 1; None if the provider does not report it."""
        progress = self.retry_state.progress
        return sum(progress.values()) / max(len(self.calls), len(progress)) if progress else None
