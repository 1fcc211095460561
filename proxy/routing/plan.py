"""The caller of a request, and its plan: a tree of strategies and targets.

These values are created for each request, so they are msgspec Structs: creating one takes a tenth
of a frozen dataclass's time. Values with secrets or a prompt have no repr.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import msgspec
import orjson

from adapters.contract import Adapter, Credentials, SignableRequest
from adapters.table.table import UnsupportedPolicy
from proxy.http.forwarding import credential_headers, lasting_headers
from proxy.settings.policies import BreakerPolicy, CachePolicy, RetryPolicy
from proxy.settings.routing_config import Strategy

_CANONICAL_JSON = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
"""Equal values have equal JSON."""
SAVED_SCOPE = "saved:"
"""The prefix of a saved config's scope."""
_MIN_SECRET_LENGTH = 8
_VERSION_DIGITS = 8


class _ParamsDigests:
    """Digests of parameters, each computed once while the targets that share them are digested."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def digest(self, value: Collection[str]) -> str:
        """Return the digest of a value, which must outlive this object; "" for an empty one."""
        if not value:
            return ""
        found = self._known.get(id(value))
        if found is None:
            data = orjson.dumps(value, option=_CANONICAL_JSON)
            found = self._known[id(value)] = hashlib.sha256(data).hexdigest()
        return found


class Caller(msgspec.Struct, frozen=True):
    """The owner of a gateway key. `key_in_authorization`: that key is in `Authorization`."""

    name: str
    key_in_authorization: bool = False


class Target(msgspec.Struct, frozen=True, dict=True):
    """A provider, a credential and overrides. `config_path` is the position in the plan's config.

    `allow_private_network`: the operator set or trusts the origin, so it may be a private address.
    `operator_credential`: the credential is the operator's, not the caller's. `set_by_caller`: the
    request itself set its timeout, origin, credential or further headers.
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
    set_by_caller: bool = False

    __repr__ = object.__repr__

    @property
    def has_stored_secret(self) -> bool:
        """Whether its credential is the operator's, and not empty."""
        return self.operator_credential and bool(
            self.credentials.api_key or self.credentials.options
        )

    @cached_property
    def fingerprint(self) -> str:
        """A digest that identifies the credential without revealing it.

        Forwarded headers are a part of it if they may be a credential.
        """
        parts = [self.credentials.api_key, *map(str, sorted(self.credentials.options.items()))]
        parts += map(str, sorted(credential_headers(self.forwarded_headers).items()))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def lasting_headers(self) -> dict[str, str]:
        """The forwarded headers that may change a response: not those of one try, as a trace."""
        return lasting_headers(self.forwarded_headers) if self.forwarded_headers else {}

    @cached_property
    def cache_identity(self) -> str:
        """A digest of everything that may change a response, for cache keys.

        With a cache policy other clients may get the response, so that all forwarded headers count
        but those of one try.
        """
        return self.identity(_ParamsDigests())

    def identity(self, digests: _ParamsDigests) -> str:
        """Return `cache_identity`; `digests` are shared with the other targets of a tree."""
        parts = [
            self.lasting_headers if self.cache else {},
            *(
                self.config_path,
                self.adapter.id,
                self.base_url,
                self.unsupported_policy.value,
                self.fingerprint,
            ),
            *map(digests.digest, (self.default_params, self.override_params, self.drop_params)),
        ]
        return hashlib.sha256(orjson.dumps(parts, option=_CANONICAL_JSON)).hexdigest()

    @cached_property
    def config_version(self) -> str:
        """A digest that distinguishes it from targets at the same path in other settings.

        It is the same for all callers.
        """
        return self.version(_ParamsDigests())

    def version(self, digests: _ParamsDigests) -> str:
        """Return `config_version`; `digests` are shared with the other targets of a tree."""
        options = self.credentials.options.items()
        stored = (
            [self.credentials.api_key, *map(str, sorted(options))]
            if self.operator_credential
            else []
        )
        parts = [
            *(self.adapter.id, self.base_url, self.virtual_key, *stored),
            *map(digests.digest, (self.default_params, self.override_params, self.drop_params)),
        ]
        return _short_digest(orjson.dumps(parts, option=_CANONICAL_JSON))

    @property
    def cache_policies(self) -> frozenset[CachePolicy]:
        """Its cache policy, if any, as a set."""
        return frozenset((self.cache,) if self.cache else ())

    @cached_property
    def secrets(self) -> frozenset[str]:
        """The secret texts of its credential, which are redacted in responses and logs.

        A short placeholder such as `x` is not a secret: redacting it would garble the text.
        """
        values = self._written_secrets
        values.add(self._authorization)
        values |= {value.replace("/", "\\/") for value in values}  # escaped, as in some JSON
        return frozenset(value for value in values if len(value) >= _MIN_SECRET_LENGTH)

    @property
    def short_secrets(self) -> frozenset[str]:
        """The secrets that are too short to be redacted in texts of others: for our own texts."""
        return frozenset(it for it in self._written_secrets if 0 < len(it) < _MIN_SECRET_LENGTH)

    @property
    def _written_secrets(self) -> set[str]:
        secret = (option.name for option in self.adapter.options if option.secret)
        return {self.credentials.api_key, *(self.credentials[name] for name in secret)}

    @property
    def _authorization(self) -> str:
        """The credential as sent: a password in base64 is as secret as the password."""
        outgoing = SignableRequest("POST", self.base_url, {}, b"", 0.0)
        signed = self.adapter.sign(outgoing, self.credentials)
        return signed.get("authorization", "").rpartition(" ")[2]


class StrategyNode(msgspec.Struct, frozen=True, dict=True):
    """A strategy over targets or other strategies. `weights` are those of `children`.

    Properties of all its targets are computed once: a tree is cached, and may have a thousand.
    """

    strategy: Strategy
    children: tuple[Node, ...]
    weights: tuple[float, ...]
    config_path: str = "config"

    __repr__ = object.__repr__

    @cached_property
    def cache_identity(self) -> str:
        """A digest of everything in its targets that may change a response, for cache keys."""
        digests = _ParamsDigests()
        identities = "".join(leaf.identity(digests) for leaf in leaf_targets(self))
        return hashlib.sha256(identities.encode()).hexdigest()

    @cached_property
    def config_version(self) -> str:
        """A digest that distinguishes its targets from those of other settings."""
        digests = _ParamsDigests()
        return _short_digest("".join(it.version(digests) for it in leaf_targets(self)).encode())

    @cached_property
    def cache_policies(self) -> frozenset[CachePolicy]:
        """The cache policies of its targets."""
        return frozenset(leaf.cache for leaf in leaf_targets(self) if leaf.cache)

    @cached_property
    def has_circuit_breaker(self) -> bool:
        """Whether any of its targets has a circuit breaker."""
        return any(leaf.breaker for leaf in leaf_targets(self))


Node = Target | StrategyNode


def leaf_targets(node: Node) -> list[Target]:
    """Return the targets of a tree, in order."""
    if isinstance(node, StrategyNode):
        return [leaf for inner in node.children for leaf in leaf_targets(inner)]
    return [node]


def _short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_VERSION_DIGITS]


class Plan(msgspec.Struct, frozen=True):
    """A resolved config, and the gateway options of the request's headers.

    `root` is its tree. `params` are the client's, as they were sent, and `pathname` is the URL's
    path. `scope` identifies the config in circuit breakers and sticky sessions; these are separate
    for each `caller`, except the circuits of saved configs. The response starts after `keepalive`
    seconds even if it is not ready; 0: never.
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
