"""The simple cache: exact matches, in memory, bounded in bytes, each with its own lifetime."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from cachetools import TLRUCache

from proxy.plan import Plan, Recording, Target

_PICTURE = re.compile(rb'"(?:b64_json|url)"\s*:\s*"(.)')
_HTTP_URL = re.compile(rb'"url"\s*:\s*"https?:')
_OVERHEAD = 512
_OK = 200


@dataclass(frozen=True, slots=True, repr=False)
class Kept:
    """One answer as it went to the client, good for `seconds`."""

    body: bytes
    content_type: str
    seconds: float
    provider: str
    receipt: str


class SimpleCache:
    """Answers by key, the longest unused given up first once `limit` bytes are held."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: TLRUCache[bytes, Kept] = TLRUCache(
            maxsize=limit,
            ttu=lambda _key, kept, now: now + kept.seconds,
            timer=clock,
            getsizeof=lambda kept: len(kept.body) + _OVERHEAD,
        )

    def get(self, key: bytes) -> Kept | None:
        """Give the answer that is kept under a key and still good."""
        return self._entries.get(key)

    def put(self, key: bytes, kept: Kept) -> None:
        """Keep an answer if there can be room for it at all."""
        if len(kept.body) + _OVERHEAD <= self._entries.maxsize:
            self._entries[key] = kept

    @property
    def held(self) -> float:
        """How many bytes are held."""
        return self._entries.currsize


def key_of(caller: str, plan: Plan, target: Target, params: dict[str, Any], path: str) -> bytes:
    """Give the key of an answer: everything that may make it another one.

    Two callers, credentials, providers, origins or endpoints never share an answer.
    """
    said = [
        *(caller, target.fingerprint, target.adapter.id, target.base_url, path),
        *(target.policy.value, plan.cache_namespace),
        *(_canonical(plan.metadata), _canonical(params)),
    ]
    # Each part with its length before it: no part can run over into the next.
    digest = hashlib.sha256()
    for part in said:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.digest()


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def keepable(
    recording: Recording, target: Target, receipt: str, urls_good_for: float = math.inf
) -> Kept | None:
    """Give what may be kept of a recording: a whole 200 with a picture in it, else None.

    An answer that holds a URL is not kept past its life: `urls_good_for` seconds if that is known,
    else as long as the provider's live.
    """
    if not recording.complete or recording.chunks is None or recording.status != _OK:
        return None
    body = b"".join(recording.chunks)
    if not _PICTURE.search(body) or target.cache is None:
        return None
    seconds = float(target.cache.max_age)
    if _HTTP_URL.search(body):
        # Half of the URL's life is left to whoever gets the answer last.
        known = urls_good_for if urls_good_for < math.inf else target.adapter.url_lifetime
        seconds = min(seconds, known / 2)
    if seconds <= 0:
        return None
    return Kept(body, recording.content_type, seconds, target.adapter.id, receipt)
