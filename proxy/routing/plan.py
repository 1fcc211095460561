"""The values that travel with a request: who calls, the plan, its targets, the attempt at one.

They are made for each request: a msgspec Struct takes a tenth of a frozen dataclass's time for it.
What holds secrets or a prompt has no repr.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import orjson

from adapters.contract import Adapter, Answer, Credentials, Image, ImageCall, Outgoing
from adapters.errors import ImageError
from adapters.table.receipt import Receipt
from adapters.table.table import Policy
from proxy.errors import outcome_unknown
from proxy.settings.policies import BreakerPolicy, CachePolicy, RetryPolicy
from proxy.settings.routing_config import Strategy

_ALIKE = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
"""Equal values are written alike."""
_NO_RECEIPT = Receipt()
_SHORTEST_SECRET = 8
_MOST_TRIED = 30
"""Attempts that are told of one request: its last ones."""
_DIGITS = 8


class Caller(msgspec.Struct, frozen=True):
    """The holder of a gateway key. `by_bearer`: `Authorization` holds a gateway key."""

    name: str
    by_bearer: bool = False


class Target(msgspec.Struct, frozen=True, dict=True):
    """A provider, a credential and overrides. `index` is its place in the plan's config.

    `private` says that its origin may lie on a private address: the operator chose or trusts it.
    `stored`: the credential is the operator's.
    """

    adapter: Adapter
    credentials: Credentials
    base_url: str
    private: bool = False
    override_params: Mapping[str, Any] = {}
    default_params: Mapping[str, Any] = {}
    drop_params: tuple[str, ...] = ()
    request_timeout: float | None = None
    forwarded: Mapping[str, str] = {}
    cache: CachePolicy | None = None
    retry: RetryPolicy | None = None
    breaker: BreakerPolicy | None = None
    policy: Policy = Policy.ADAPT
    index: str = "config"
    slug: str = ""
    stored: bool = False

    __repr__ = object.__repr__

    @cached_property
    def fingerprint(self) -> str:
        """A digest that tells this credential from any other, and does not reveal it."""
        said = [self.credentials.api_key, *map(str, sorted(self.credentials.options.items()))]
        said += map(str, sorted(self.forwarded.items()))
        return hashlib.sha256("\0".join(said).encode()).hexdigest()

    @cached_property
    def identity(self) -> str:
        """A digest of all of it that may make an answer another one."""
        said = [
            *(self.index, self.adapter.id, self.base_url, self.policy.value, self.fingerprint),
            *(self.default_params, self.override_params, self.drop_params),
        ]
        return hashlib.sha256(orjson.dumps(said, option=_ALIKE)).hexdigest()

    @cached_property
    def edition(self) -> str:
        """What tells it from others that stood at its place in other settings, whoever asks."""
        options = self.credentials.options.items()
        stored = [self.credentials.api_key, *map(str, sorted(options))] if self.stored else []
        said = [
            *(self.adapter.id, self.base_url, self.slug, *stored),
            *(self.default_params, self.override_params, self.drop_params),
        ]
        return _short_digest(orjson.dumps(said, option=_ALIKE))

    @property
    def caches(self) -> frozenset[CachePolicy]:
        """What it says of keeping answers."""
        return frozenset((self.cache,) if self.cache else ())

    @cached_property
    def secrets(self) -> frozenset[str]:
        """The secret texts of its credential, to be blotted out wherever they could be told.

        A placeholder such as `x` is no secret: blotting it out would only spoil the text.
        """
        secret = (option.name for option in self.adapter.options if option.secret)
        values = {self.credentials.api_key, *(self.credentials[name] for name in secret)}
        values.add(self._authorization)
        values |= {value.replace("/", "\\/") for value in values}  # as some write it in JSON
        return frozenset(value for value in values if len(value) >= _SHORTEST_SECRET)

    @property
    def _authorization(self) -> str:
        """What signing makes of the credential: base64 of a password is as good as the password."""
        outgoing = Outgoing("POST", self.base_url, {}, b"", 0.0)
        signed = self.adapter.sign(outgoing, self.credentials)
        return signed.get("authorization", "").rpartition(" ")[2]


class Branch(msgspec.Struct, frozen=True, dict=True):
    """A strategy over targets, or over branches of them. `weights` are those of `nodes`.

    What all its targets come to is found once: a tree is kept, and may have a thousand of them.
    """

    strategy: Strategy
    nodes: tuple[Node, ...]
    weights: tuple[float, ...]
    index: str = "config"

    __repr__ = object.__repr__

    @cached_property
    def identity(self) -> str:
        """A digest of all of its targets that may make an answer another one."""
        said = "".join(leaf.identity for leaf in leaves_of(self))
        return hashlib.sha256(said.encode()).hexdigest()

    @cached_property
    def edition(self) -> str:
        """What tells its targets from those of other settings."""
        return _short_digest("".join(leaf.edition for leaf in leaves_of(self)).encode())

    @cached_property
    def caches(self) -> frozenset[CachePolicy]:
        """What its targets say of keeping answers."""
        return frozenset(leaf.cache for leaf in leaves_of(self) if leaf.cache)

    @cached_property
    def breaks(self) -> bool:
        """Whether any of its targets has a circuit breaker."""
        return any(leaf.breaker for leaf in leaves_of(self))


Node = Target | Branch
Made = tuple[tuple[Image, Target], ...]
"""Pictures, each with the target that made it."""


def leaves_of(node: Node) -> list[Target]:
    """Give the targets of a tree, in order."""
    if isinstance(node, Branch):
        return [leaf for inner in node.nodes for leaf in leaves_of(inner)]
    return [node]


def _short_digest(said: bytes) -> str:
    return hashlib.sha256(said).hexdigest()[:_DIGITS]


class Plan(msgspec.Struct, frozen=True):
    """A resolved config, and what the request's headers ask of the gateway.

    `root` is its tree. `params` are the client's, as they were sent, and `pathname` its path.
    `scope` names the config, wherever state is kept for it: circuits, and sticky choices, which
    are each `caller`'s own. After `keepalive` seconds an answer is begun, ready or not; 0: never.
    """

    root: Node
    params: Mapping[str, Any]
    pathname: str = ""
    scope: str = ""
    metadata: Mapping[str, Any] = {}
    cache_namespace: str = ""
    force_refresh: bool = False
    dry_run: bool = False
    keepalive: int = 0
    caller: str = ""

    __repr__ = object.__repr__


Watch = Callable[[Image, bytes, AsyncIterator[bytes]], AsyncIterator[bytes]]
"""Gives on the bytes of a picture that come after its first ones, and looks at all of them."""


class Recording:
    """One answer as it goes to the client: its bytes, up to `limit`; past it, nothing.

    Of an answer that is put together here it holds the `answers` that it consists of instead, and
    `watch` sees the bytes of each picture that comes from a URL.
    """

    __slots__ = (
        "_left",
        "_limit",
        "answers",
        "chunks",
        "complete",
        "content_type",
        "spoiled",
        "status",
        "watch",
    )

    def __init__(self, limit: int, watch: Watch | None = None) -> None:
        self.answers: list[Answer] = []
        self.chunks: list[bytes] | None = []
        self.complete = False
        self.spoiled = False
        self.content_type = ""
        self.status = 0
        self.watch = watch
        self._limit = self._left = limit

    @property
    def held(self) -> int:
        """How many bytes are held, of the answer or of the pictures in it."""
        return self._limit - max(self._left, 0)

    def consists_of(self, answer: Answer) -> None:
        """Note an answer, or a part of one, whose pictures are at hand: no bytes are needed.

        A preview is not held any longer than it takes to go.
        """
        self.chunks = None
        finished = tuple(image for image in answer.images if image.preview is None)
        self._left -= sum(it.held for it in finished)
        if self._left < 0:
            self.spoil()
        elif finished or answer.usage:
            self.answers.append(replace(answer, images=finished, body=None))

    def spoil(self) -> None:
        """Note that the answer is not the whole answer."""
        self.spoiled, self.chunks = True, None
        self.answers.clear()

    def begin(self, status: int, content_type: str, length: int | None) -> None:
        """Note the head; an answer known to be too long is not recorded at all."""
        self.status, self.content_type = status, content_type
        if length is not None and length > self._left:
            self.chunks = None

    def add(self, chunk: bytes) -> None:
        """Keep a chunk (the same object, no copy), or give up once it is too much."""
        if self.chunks is None:
            return
        self._left -= len(chunk)
        if self._left < 0:
            self.chunks = None
        else:
            self.chunks.append(chunk)


class Tried(msgspec.Struct, frozen=True):
    """How the attempt at one target ended: with `ok`, or with the word for its failure."""

    target: str
    provider: str
    status: int
    ended: str
    retries: int
    ms: float


class Trail(msgspec.Struct):
    """What is noted of one request of a client's on its way; times are of `time.perf_counter`.

    `asked` is when its first request to a provider went, `headed` when the head of its answer did,
    0 before. `tried` are its attempts, the last ones where they are many.
    """

    arrived: float
    asked: float = 0.0
    headed: float = 0.0
    tried: deque[Tried] | None = None

    def note(self, tried: Tried) -> None:
        """Note an attempt that has ended."""
        if self.tried is None:
            self.tried = deque(maxlen=_MOST_TRIED)
        self.tried.append(tried)


class Budget(msgspec.Struct):
    """How many more requests may go to providers for one request of a client's.

    `in_doubt`: one of them may have been paid for, and nobody knows what became of it. `hops` is
    how many gateways of our kind the client's request has passed. `trail` is where it is noted.
    """

    left: int = 30
    in_doubt: bool = False
    hops: int = 0
    trail: Trail | None = None

    def note(self, error: ImageError) -> None:
        """Note how a request failed."""
        self.in_doubt = self.in_doubt or outcome_unknown(error)


class Tries(msgspec.Struct):
    """What it took at one target: retries so far, -1 once they were of no use.

    `repeated` counts the requests that were sent once more, of use or not.
    `progress` is how far each call is, 0 to 1, where its provider tells; by `ImageCall.chance`.
    """

    budget: Budget = msgspec.field(default_factory=Budget)
    retries: int = 0
    repeated: int = 0
    progress: dict[int, float] = {}


class Drawn(NamedTuple):
    """A picture of an answer. `pixels` are 0 where nobody looked; `kept`: the cache had it."""

    target: Target
    pixels: int = 0
    kept: bool = False


class Attempt(msgspec.Struct):
    """One try at one target, and what is known of it so far.

    `made` are the pictures that earlier targets made, and this one was asked for the others.
    `fills`: what this one fails to make, another target will be asked for. `drawn` are the pictures
    that its answer holds.
    """

    target: Target
    params: dict[str, Any]
    raw: bytes | None
    calls: tuple[ImageCall, ...] = ()
    receipt: Receipt = _NO_RECEIPT
    cache_status: str = "DISABLED"
    tries: Tries = msgspec.field(default_factory=Tries)
    recording: Recording | None = None
    made: Made = ()
    fills: bool = False
    drawn: list[Drawn] = []

    __repr__ = object.__repr__

    @property
    def model(self) -> str:
        """The model that was named for it, "" where none was."""
        named = self.params.get("model")
        return named if isinstance(named, str) else ""

    @property
    def headers(self) -> dict[str, str]:
        """What is told of it to the client."""
        told = {
            "x-portkey-provider": self.target.adapter.id,
            "x-portkey-last-used-option-index": self.target.index,
            "x-portkey-retry-attempt-count": str(self.tries.retries),
            "x-portkey-cache-status": self.cache_status,
        }
        if receipt := str(self.receipt):
            told["x-easel-receipt"] = receipt
        return told

    def with_made(self, images: Iterable[Image]) -> Made:
        """Give the pictures of earlier targets, and those that this one made."""
        return (*self.made, *[(image, self.target) for image in images])

    @property
    def progress(self) -> float | None:
        """How far its calls are in all, 0 to 1; None where the provider does not tell."""
        told = self.tries.progress
        return sum(told.values()) / max(len(self.calls), len(told)) if told else None
