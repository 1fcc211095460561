"""The values that travel with a request: who calls, the plan, its targets, the attempt at one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.contract import Adapter, Credentials, Image, ImageCall
from adapters.params import Policy, Receipt
from proxy.configs import Strategy
from proxy.policies import BreakerPolicy, CachePolicy, RetryPolicy


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
    retry: RetryPolicy | None = None
    breaker: BreakerPolicy | None = None
    policy: Policy = Policy.ADAPT
    index: str = "config"
    slug: str = ""

    @property
    def fingerprint(self) -> str:
        """A digest that tells this credential from any other, and does not reveal it."""
        said = [self.credentials.api_key, *map(str, sorted(self.credentials.options.items()))]
        said += map(str, sorted(self.forwarded.items()))
        return hashlib.sha256("\0".join(said).encode()).hexdigest()


@dataclass(frozen=True, slots=True, repr=False)
class Branch:
    """A strategy over targets, or over branches of them. `weights` are those of `nodes`."""

    strategy: Strategy
    nodes: tuple[Node, ...]
    weights: tuple[float, ...]
    index: str = "config"


Node = Target | Branch


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """A resolved config, and what the request's headers ask of the gateway.

    `root` is its tree. `params` are the client's, as they were sent, and `pathname` its path.
    `scope` names the config, wherever state is kept for it: circuits, and sticky choices, which
    are each `caller`'s own.
    """

    root: Node
    params: Mapping[str, Any]
    pathname: str = ""
    scope: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    cache_namespace: str = ""
    force_refresh: bool = False
    dry_run: bool = False
    caller: str = ""


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


@dataclass(slots=True)
class Budget:
    """How many more requests may go to providers for one request of a client's."""

    left: int = 30


@dataclass(slots=True)
class Tries:
    """What it took at one target: retries so far, -1 once they were of no use.

    `progress` is how far each call is, 0 to 1, where its provider tells; by `ImageCall.chance`.
    """

    budget: Budget = field(default_factory=Budget)
    retries: int = 0
    progress: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True, repr=False)
class Attempt:
    """One try at one target, and what is known of it so far.

    `made` are the pictures that earlier targets made, and this one was asked for the others.
    `fills`: what this one fails to make, another target will be asked for.
    """

    target: Target
    params: dict[str, Any]
    raw: bytes | None
    calls: tuple[ImageCall, ...] = ()
    receipt: Receipt = field(default_factory=Receipt)
    cache_status: str = "DISABLED"
    tries: Tries = field(default_factory=Tries)
    recording: Recording | None = None
    made: tuple[tuple[Image, Target], ...] = ()
    fills: bool = False
    urls_good_for: float = math.inf

    @property
    def progress(self) -> float | None:
        """How far its calls are in all, 0 to 1; None where the provider does not tell."""
        told = self.tries.progress
        return sum(told.values()) / max(len(self.calls), len(told)) if told else None

    def urls_live(self, seconds: float) -> None:
        """Note that the answer holds a URL that stays good for `seconds`."""
        self.urls_good_for = min(self.urls_good_for, seconds)
