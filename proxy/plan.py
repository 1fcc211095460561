"""The values that travel with a request: who calls, the plan, its targets, the attempt at one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.contract import Adapter, Credentials, ImageCall
from adapters.params import Policy, Receipt
from proxy.configs import CachePolicy


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a gateway key. `by_bearer`: `Authorization` holds a gateway key."""

    name: str
    by_bearer: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """A provider, a credential and overrides. `index` is its place in the plan's config.

    `private` says that its origin may lie on a private address: the operator chose or trusts it.
    """

    adapter: Adapter
    credentials: Credentials
    base_url: str
    private: bool = False
    override_params: Mapping[str, Any] = field(default_factory=dict)
    default_params: Mapping[str, Any] = field(default_factory=dict)
    drop_params: tuple[str, ...] = ()
    request_timeout: float | None = None
    forwarded: Mapping[str, str] = field(default_factory=dict)
    cache: CachePolicy | None = None
    index: str = "config"

    @property
    def fingerprint(self) -> str:
        """A digest that tells this credential from any other, and does not reveal it."""
        said = [self.credentials.api_key, *map(str, sorted(self.credentials.options.items()))]
        said += map(str, sorted(self.forwarded.items()))
        return hashlib.sha256("\0".join(said).encode()).hexdigest()


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """A resolved config, and what the request's headers ask of the gateway."""

    targets: tuple[Target, ...]
    params: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    cache_namespace: str = ""
    force_refresh: bool = False
    policy: Policy = Policy.ADAPT


class Recording:
    """The bytes of one answer as they go to the client, up to `limit`; past it, nothing."""

    __slots__ = ("_left", "chunks", "complete", "content_type", "status")

    def __init__(self, limit: int) -> None:
        self.chunks: list[bytes] | None = []
        self.complete = False
        self.content_type = ""
        self.status = 0
        self._left = limit

    def begin(self, status: int, content_type: str, length: int | None) -> None:
        """Note the head; an answer known to be too long is not recorded at all."""
        self.status, self.content_type = status, content_type
        if length is not None and length > self._left:
            self.chunks = None

    def add(self, chunk: bytes) -> None:
        """Keep a chunk (the same object, no copy), or give up once it is too much."""
        self._left -= len(chunk)
        if self._left < 0:
            self.chunks = None
        elif self.chunks is not None:
            self.chunks.append(chunk)


@dataclass(slots=True, repr=False)
class Attempt:
    """One try at one target, and what is known of it so far."""

    target: Target
    params: dict[str, Any]
    raw: bytes | None
    calls: tuple[ImageCall, ...] = ()
    receipt: Receipt = field(default_factory=Receipt)
    cache_status: str = "DISABLED"
    retries: int = 0
    recording: Recording | None = None
