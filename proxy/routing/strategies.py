"""Target selection: weighted, sticky and conditional."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from typing import Protocol

import orjson
from cachetools import TLRUCache
from msgspec.structs import replace

from proxy.errors import BadRequest
from proxy.routing.circuit_breaker import CircuitBreakers
from proxy.routing.plan import SAVED_SCOPE, Node, Plan, StrategyNode, Target
from proxy.settings.conditions import RequestFacts
from proxy.settings.policies import BreakerPolicy, StickyPolicy

_MAX_STICKY = 100_000
_VERSION_SEPARATOR, _OWNER_SEPARATOR = "#", "@"
_SCOPE_DIGITS = 12
_BLAME_REQUEST = frozenset({400, 404, 405, 406, 409, 410, 411, 413, 414, 415, 417, 422, 431, 451})
"""Statuses by which a provider says that the request, and not the provider, is at fault."""
_HASH_DIGITS = 13
"""Hex digits that a float represents exactly."""
_HASH_RANGE = float(1 << 4 * _HASH_DIGITS)


class StickyStore(Protocol):
    """The targets of sticky sessions, by key."""

    def get(self, key: str) -> str | None:
        """Return the config path of the target of a session, or None."""

    def put(self, key: str, index: str, seconds: float) -> None:
        """Store the target of a session for some seconds."""

    def hash_position(self, key: str) -> float | None:
        """Return the position in [0, 1) that selects a new session's target; None: random."""


class HashSticky:
    """Sticky sessions without a store: the hash of the key selects the target.

    Every process selects the same target, for as long as targets and weights stay the same.
    """

    def get(self, key: str) -> None:
        """Return None: nothing is stored."""

    def put(self, key: str, index: str, seconds: float) -> None:
        """Store nothing."""

    def hash_position(self, key: str) -> float:
        """Return the position in [0, 1) of a key, which is a hex digest."""
        return int(key[:_HASH_DIGITS], 16) / _HASH_RANGE


class MemorySticky:
    """Sticky sessions of this process, in memory; the least recently used are evicted first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions: TLRUCache[str, tuple[str, float]] = TLRUCache(
            _MAX_STICKY, ttu=lambda _key, entry, now: now + entry[1], timer=clock
        )

    def get(self, key: str) -> str | None:
        """Return the config path of the target of a session, or None."""
        entry = self._sessions.get(key)
        return entry[0] if entry else None

    def put(self, key: str, index: str, seconds: float) -> None:
        """Store the target of a session for some seconds."""
        self._sessions[key] = (index, seconds)

    def hash_position(self, key: str) -> None:
        """Return None: the first target is random."""


class StrategySelector:
    """Selects targets, by circuits, sticky sessions and a random function."""

    def __init__(
        self,
        circuits: CircuitBreakers,
        sticky: StickyStore,
        random_float: Callable[[], float] = random.random,
    ) -> None:
        self.circuits = circuits
        self._sticky = sticky
        self._random = random_float

    def without_open_circuits(self, branch: StrategyNode, plan: Plan) -> StrategyNode:
        """Return the node without the children whose circuits are open, unless all of them are.

        Conditional strategies are not considered: https://portkey.ai/docs/product/ai-gateway/circuit-breaker
        """
        if branch.strategy.mode == "conditional" or not branch.has_circuit_breaker:
            return branch
        closed = [i for i, node in enumerate(branch.children) if not self._is_open(node, plan)]
        if not closed or len(closed) == len(branch.children):
            return branch
        if branch.strategy.mode == "loadbalance" and not any(branch.weights[i] for i in closed):
            # The remaining children have weight 0 and are never selected.
            return branch
        nodes = tuple(branch.children[i] for i in closed)
        return replace(branch, children=nodes, weights=tuple(branch.weights[i] for i in closed))

    def _is_open(self, node: Node, plan: Plan) -> bool:
        if isinstance(node, Target):
            return node.breaker is not None and (
                self.circuits.is_open(circuit_name(node, plan))
                or self.circuits.is_open(own_circuit_name(node, plan))
            )
        return all(self._is_open(child, plan) for child in node.children)

    def on_start(self, target: Target, plan: Plan) -> None:
        """Record in a target's circuits that a request is sent to it."""
        if target.breaker:
            for name in _circuits_of(target, target.breaker, plan):
                self.circuits.on_start(name)

    def on_result(self, target: Target, plan: Plan, status: int | None) -> None:
        """Record a request's status in a target's circuits; None: nothing is known.

        The circuit that callers share counts no failure that one caller can bring about.
        """
        if target.breaker:
            shared = circuit_name(target, plan)
            for name in _circuits_of(target, target.breaker, plan):
                unknown = name == shared and status in _BLAME_REQUEST
                self.circuits.on_result(name, target.breaker, None if unknown else status)

    def select(self, branch: StrategyNode, plan: Plan) -> Node:
        """Return the child that a strategy other than fallback selects."""
        if branch.strategy.mode == "conditional":
            return _select_conditional(branch, plan)
        if branch.strategy.mode == "loadbalance":
            return self._select_weighted(branch, plan)
        return branch.children[0]

    def _select_weighted(self, branch: StrategyNode, plan: Plan) -> Node:
        sticky = branch.strategy.sticky
        key = _sticky_key(sticky, branch, plan) if sticky and sticky.enabled else ""
        known = {
            node.config_path: node
            for node, weight in zip(branch.children, branch.weights, strict=True)
            if weight
        }
        if key and (node := known.get(self._sticky.get(key) or "")):
            return node
        position = self._sticky.hash_position(key) if key else None
        node = _child_at(branch, self._random() if position is None else position)
        if key and sticky:
            self._sticky.put(key, node.config_path, sticky.ttl)
        return node


def _child_at(branch: StrategyNode, position: float) -> Node:
    """Return the child at a position in [0, 1), which is divided by weight."""
    if not any(branch.weights):
        return branch.children[0]
    position *= sum(branch.weights)
    for node, weight in zip(branch.children, branch.weights, strict=True):
        if weight and position < weight:
            return node
        position -= weight
    return next(
        node for node, weight in zip(branch.children, branch.weights, strict=True) if weight
    )


def circuit_name(target: Target, plan: Plan) -> str:
    """Return the name of a target's circuit: its path in the config, and its version.

    The version keeps the failures of an earlier target at the same path apart.
    """
    return f"{plan.scope}:{target.config_path}{_VERSION_SEPARATOR}{target.config_version}"


def own_circuit_name(target: Target, plan: Plan) -> str:
    """Return the name of the caller's own circuit for a target."""
    return f"{circuit_name(target, plan)}{_OWNER_SEPARATOR}{plan.caller}"


def _circuits_of(target: Target, policy: BreakerPolicy, plan: Plan) -> list[str]:
    """Return the circuits that a request counts in.

    Callers share the circuits of saved configs, except for requests that set anything by
    themselves. A policy that counts faults of the request counts them for each caller.
    """
    is_shared = plan.scope.startswith(SAVED_SCOPE) and not target.set_by_caller
    if not is_shared:
        return [own_circuit_name(target, plan)]
    if _BLAME_REQUEST & (policy.failure_status_codes or frozenset()):
        return [circuit_name(target, plan), own_circuit_name(target, plan)]
    return [circuit_name(target, plan)]


def circuit_owner(circuit: str) -> str:
    """Return the name of the caller whose own circuit this is, "" for one that callers share.

    >>> circuit_owner("saved:pc:config#1a2b3c4d@app"), circuit_owner("saved:pc:config#1a2b3c4d")
    ('app', '')
    """
    return circuit.partition(_VERSION_SEPARATOR)[2].partition(_OWNER_SEPARATOR)[2]


def circuit_location(circuit: str) -> str:
    """Return the scope and path of a circuit's target, for people.

    A caller's own circuit of a saved config has `@` and the caller's name at the end. Only the
    beginning of an inline config's digest is shown, because the config may hold a secret.

    >>> circuit_location("saved:pc:config.targets[0]#1a2b3c4d")
    'saved:pc:config.targets[0]'
    >>> circuit_location("saved:pc:config.targets[0]#1a2b3c4d@app")
    'saved:pc:config.targets[0]@app'
    >>> circuit_location("inline:0123456789abcdef:config#1a2b3c4d@app")
    'inline:0123456789ab:config'
    """
    place, _, version = circuit.partition(_VERSION_SEPARATOR)
    _, mark, owner = version.partition(_OWNER_SEPARATOR)
    if place.startswith(SAVED_SCOPE):
        return f"{place}{mark}{owner}"
    kind, _, rest = place.partition(":")
    digest, _, path = rest.partition(":")
    return f"{kind}:{digest[:_SCOPE_DIGITS]}:{path}"


def request_facts(plan: Plan) -> RequestFacts:
    """Return the facts that conditions and sticky sessions use."""
    return RequestFacts(plan.metadata, plan.params, plan.pathname)


def _select_conditional(branch: StrategyNode, plan: Plan) -> Node:
    facts = request_facts(plan)
    for predicate, number in branch.strategy.conditions:
        if predicate(facts):
            return branch.children[number]
    if branch.strategy.default is not None:
        return branch.children[branch.strategy.default]
    raise BadRequest(
        f"No condition of {branch.config_path} matches this request, and it has no default target.",
        code="no_condition_matched",
        param="x-portkey-config",
    )


def _sticky_key(sticky: StickyPolicy, branch: StrategyNode, plan: Plan) -> str:
    """Return the key of a session, by its hash fields; "" if the request has none of them."""
    facts = request_facts(plan)
    values = [facts.get(name) if facts.has(name) else None for name in sticky.hash_fields]
    if not any(value is not None for value in values):
        return ""
    parts = [plan.scope, plan.root.config_version, plan.caller, branch.config_path, values]
    return hashlib.sha256(orjson.dumps(parts, default=str)).hexdigest()
