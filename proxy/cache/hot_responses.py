"""Whole answers of the cache that are ready to be sent again: the form that was asked for before.

They spare reading pictures from the store and writing them as base64. Each is a copy of what the
index has an entry for, and good for as long as that very entry is there.
"""

from __future__ import annotations

from functools import cached_property

import msgspec
from cachetools import LRUCache

from adapters.table.receipt import Receipt
from proxy.cache.entry import CacheEntry
from proxy.routing.attempt import Attempt, BilledImage, ResponseCapture
from proxy.routing.plan import Target

_OVERHEAD_BYTES = 2048
"""Bytes that an answer takes beside its body."""
_MIN_CAPACITY = 4
"""How many of the largest answers there is room for."""


class HotResponse(msgspec.Struct, frozen=True, dict=True):
    """An answer in JSON, and what is to be said of it. `key` is that of its `entry`.

    `job` is the id of the job that wrote it, `model` the one that was named.
    """

    body: bytes
    job_id: str
    receipt: Receipt
    target: Target
    key: bytes
    entry: CacheEntry
    model: str = ""

    __repr__ = object.__repr__

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.body) + _OVERHEAD_BYTES

    @cached_property
    def attempt(self) -> Attempt:
        """What is told of whoever gets it."""
        attempt = Attempt(self.target, {}, None, cache_status="HIT", receipt=self.receipt)
        if self.model:
            attempt.params["model"] = self.model
        attempt.images_out = [BilledImage(self.target, from_cache=True)] * len(self.entry.images)
        return attempt

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers that it goes with."""
        job = {"x-easel-job": self.job_id} if self.job_id else {}
        return {"content-type": "application/json", **job, **self.attempt.response_headers}


class ByteCapture(ResponseCapture):
    """Records the very bytes of an answer, whatever it was put together from."""

    def consists_of(self, answer: object) -> None:
        """Record its bytes all the same."""


class HotResponses:
    """Holds answers by the digest of all that may make a request's answer another one.

    The longest unused go first. `limit` is in bytes; 0 holds none.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_response_bytes = max_bytes // _MIN_CAPACITY
        self._responses: LRUCache[bytes, HotResponse] = LRUCache(
            max_bytes, getsizeof=lambda it: it.size
        )

    def get(self, digest: bytes) -> HotResponse | None:
        """Give what may be ready for a request."""
        try:
            return self._responses[digest]
        except KeyError:
            return None

    def put(self, digest: bytes, response: HotResponse) -> None:
        """Hold an answer, unless it is too large."""
        if response.size <= self.max_response_bytes:
            self._responses[digest] = response

    def remove(self, digest: bytes) -> None:
        """Give one up."""
        self._responses.pop(digest, None)
