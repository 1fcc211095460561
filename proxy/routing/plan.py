"""The values that travel with a request: who calls, the plan, its targets, the attempt at one.

They are made for each request: a msgspec Struct takes a tenth of a frozen dataclass's time for it.
What holds secrets or a prompt has no repr.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec
import orjson

from adapters.contract import Adapter, Credentials, SignableRequest
from adapters.table.table import UnsupportedPolicy
from proxy.settings.policies import BreakerPolicy, CachePolicy, RetryPolicy
from proxy.settings.routing_config import Strategy

_CANONICAL_JSON = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
"""Equal values are written alike."""
_MIN_SECRET_LENGTH = 8
_VERSION_DIGITS = 8


class Caller(msgspec.Struct, frozen=True):
    """The holder of a gateway key. `by_bearer`: `Authorization` holds a gateway key."""

    name: str
    key_in_authorization: bool = False


class Target(msgspec.Struct, frozen=True, dict=True):
    """A provider, a credential and overrides. `index` is its place in the plan's config.

    `private` says that its origin may lie on a private address: the operator chose or trusts it.
    `stored`: the credential is the operator's.
    """

    adapter: Adapter
    credentials: Credentials
    base_url: str
    allow_private_network: bool = False
    override_params: Mapping[str, Any] = {}
    default_params: Mapping[str, Any] = {}
    drop_params: tuple[str, ...] = ()
    request_timeout: float | None = None
    forwarded_headers: Mapping[str, str] = {}
    cache: CachePolicy | None = None
    retry: RetryPolicy | None = None
    breaker: BreakerPolicy | None = None
    unsupported_policy: UnsupportedPolicy = UnsupportedPolicy.ADAPT
    config_path: str = "config"
    virtual_key: str = ""
    operator_credential: bool = False

    __repr__ = object.__repr__

    @cached_property
    def fingerprint(self) -> str:
        """A digest that tells this credential from any other, and does not reveal it."""
        parts = [self.credentials.api_key, *map(str, sorted(self.credentials.options.items()))]
        parts += map(str, sorted(self.forwarded_headers.items()))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @cached_property
    def cache_identity(self) -> str:
        """A digest of all of it that may make an answer another one."""
        said = [
            *(
                self.config_path,
                self.adapter.id,
                self.base_url,
                self.unsupported_policy.value,
                self.fingerprint,
            ),
            *(self.default_params, self.override_params, self.drop_params),
        ]
        return hashlib.sha256(orjson.dumps(said, option=_CANONICAL_JSON)).hexdigest()

    @cached_property
    def config_version(self) -> str:
        """What tells it from others that stood at its place in other settings, whoever asks."""
        options = self.credentials.options.items()
        stored = (
            [self.credentials.api_key, *map(str, sorted(options))]
            if self.operator_credential
            else []
        )
        said = [
            *(self.adapter.id, self.base_url, self.virtual_key, *stored),
            *(self.default_params, self.override_params, self.drop_params),
        ]
        return _short_digest(orjson.dumps(said, option=_CANONICAL_JSON))

    @property
    def cache_policies(self) -> frozenset[CachePolicy]:
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
        return frozenset(value for value in values if len(value) >= _MIN_SECRET_LENGTH)

    @property
    def _authorization(self) -> str:
        """What signing makes of the credential: base64 of a password is as good as the password."""
        outgoing = SignableRequest("POST", self.base_url, {}, b"", 0.0)
        signed = self.adapter.sign(outgoing, self.credentials)
        return signed.get("authorization", "").rpartition(" ")[2]


class StrategyNode(msgspec.Struct, frozen=True, dict=True):
    """A strategy over targets, or over branches of them. `weights` are those of `nodes`.

    What all its targets come to is found once: a tree is kept, and may have a thousand of them.
    """

    strategy: Strategy
    children: tuple[Node, ...]
    weights: tuple[float, ...]
    config_path: str = "config"

    __repr__ = object.__repr__

    @cached_property
    def cache_identity(self) -> str:
        """A digest of all of its targets that may make an answer another one."""
        said = "".join(leaf.cache_identity for leaf in leaf_targets(self))
        return hashlib.sha256(said.encode()).hexdigest()

    @cached_property
    def config_version(self) -> str:
        """What tells its targets from those of other settings."""
        return _short_digest("".join(leaf.config_version for leaf in leaf_targets(self)).encode())

    @cached_property
    def cache_policies(self) -> frozenset[CachePolicy]:
        """What its targets say of keeping answers."""
        return frozenset(leaf.cache for leaf in leaf_targets(self) if leaf.cache)

    @cached_property
    def has_circuit_breaker(self) -> bool:
        """Whether any of its targets has a circuit breaker."""
        return any(leaf.breaker for leaf in leaf_targets(self))


Node = Target | StrategyNode


def leaf_targets(node: Node) -> list[Target]:
    """Give the targets of a tree, in order."""
    if isinstance(node, StrategyNode):
        return [leaf for inner in node.children for leaf in leaf_targets(inner)]
    return [node]


def _short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_VERSION_DIGITS]


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
