"""Hot responses: complete response bodies in memory, in the form in which they were last sent.

A hit needs no read from the blob store and no base64 encoding. A hot response is a copy of an entry
of the index. It is valid as long as the index holds that same entry.
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
"""Memory of a response besides its body."""
_BYTES_PER_CHARACTER = 12
"""Memory of parsed parameters for each character of their text."""
_MIN_CAPACITY = 4
"""How many responses of the largest accepted size fit into the memory limit."""


class HotResponse(msgspec.Struct, frozen=True, dict=True):
    """A JSON response body and its metadata. `key` is the cache key of its `entry`.

    `job_id` is the job that produced it, `model` the model named in the request.
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
        """Approximate memory in bytes."""
        return len(self.body) + _OVERHEAD_BYTES + _target_size(self.target) + self.entry.weight

    @cached_property
    def attempt(self) -> Attempt:
        """The attempt to report in headers, logs and metrics for every request that hits."""
        attempt = Attempt(self.target, {}, None, cache_status="HIT", receipt=self.receipt)
        if self.model:
            attempt.params["model"] = self.model
        attempt.images_out = [BilledImage(self.target, from_cache=True)] * len(self.entry.images)
        return attempt

    @cached_property
    def headers(self) -> dict[str, str]:
        """The response headers."""
        job = {"x-easel-job": self.job_id} if self.job_id else {}
        return {"content-type": "application/json", **job, **self.attempt.response_headers}


class ByteCapture(ResponseCapture):
    """Captures the bytes of a response as they are sent."""

    def add_answer(self, answer: object) -> None:
        """Capture the bytes, not the object that they were made from."""


class HotResponses:
    """Responses by request digest, evicted least recently used first.

    `max_bytes` limits their memory; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_response_bytes = max_bytes // _MIN_CAPACITY
        self._responses: LRUCache[bytes, HotResponse] = LRUCache(
            max_bytes, getsizeof=lambda response: response.size
        )

    def get(self, digest: bytes) -> HotResponse | None:
        """Return the response for a request digest, if there is one."""
        try:
            return self._responses[digest]
        except KeyError:
            return None

    def put(self, digest: bytes, response: HotResponse) -> None:
        """Keep a response, unless it is too large."""
        if response.size <= self.max_response_bytes:
            self._responses[digest] = response

    def purge(self, caller: str, namespace: str | None) -> None:
        """Remove a caller's responses, in one namespace or in all."""
        for digest, response in list(self._responses.items()):
            entry = response.entry
            if entry.caller == caller and namespace in (None, entry.namespace):
                self.remove(digest)

    def remove(self, digest: bytes) -> None:
        """Remove a response, if it is there."""
        self._responses.pop(digest, None)


def _target_size(target: Target) -> int:
    """Return about how many bytes a target holds: what a caller's config can make large."""
    params = target.override_params, target.default_params, target.drop_params
    headers, options = target.forwarded_headers, target.base_url
    text = len(str(params)) + len(options) if any(params) else len(options)
    text += sum(len(name) + len(value) for name, value in headers.items())
    return _BYTES_PER_CHARACTER * text
