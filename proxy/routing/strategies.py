"""Which of a strategy's targets is the one: by weight, by what it stuck to, by condition."""

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
from proxy.routing.plan import Node, Plan, StrategyNode, Target
from proxy.settings.conditions import RequestFacts
from proxy.settings.policies import StickyPolicy

_MAX_STICKY = 100_000
_VERSION_SEPARATOR = "#"
_HASH_DIGITS = 13
"""Hex digits that a float holds without loss."""
_HASH_RANGE = float(1 << 4 * _HASH_DIGITS)


class StickyStore(Protocol):
    """Where it is kept which target a caller stuck to: memory, or a store that nodes share."""

    def get(self, name: str) -> str | None:
        """Give the index of the target that a name stuck to."""

    def put(self, name: str, index: str, seconds: float) -> None:
        """Let a name stick to a target for a while."""

    def hash_position(self, name: str) -> float | None:
        """Give the place in [0, 1) by which a name is to be drawn for; None: by chance."""


class HashSticky:
    """Sticky choices that every process makes alike, without a word: a name draws by itself.

    They hold for as long as targets and weights stay the same.
    """

    def get(self, name: str) -> None:
        """Know nothing."""

    def put(self, name: str, index: str, seconds: float) -> None:
        """Keep nothing."""

    def hash_position(self, name: str) -> float:
        """Give the place in [0, 1) that a name, a digest in hex, stands for."""
        return int(name[:_HASH_DIGITS], 16) / _HASH_RANGE


class MemorySticky:
    """Sticky choices of this process, in memory, the longest unused given up first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._chosen: TLRUCache[str, tuple[str, float]] = TLRUCache(
            _MAX_STICKY, ttu=lambda _name, kept, now: now + kept[1], timer=clock
        )

    def get(self, name: str) -> str | None:
        """Give the index of the target that a name stuck to."""
        kept = self._chosen.get(name)
        return kept[0] if kept else None

    def put(self, name: str, index: str, seconds: float) -> None:
        """Let a name stick to a target for a while."""
        self._chosen[name] = (index, seconds)

    def hash_position(self, name: str) -> None:
        """Leave it to chance."""


class StrategySelector:
    """Chooses; chance, circuits and sticky choices are given to it."""

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
        """Leave out the nodes whose circuits are open, unless all of them are.

        Conditional strategies are not considered: https://portkey.ai/docs/product/ai-gateway/circuit-breaker
        """
        if branch.strategy.mode == "conditional" or not branch.has_circuit_breaker:
            return branch
        good = [i for i, node in enumerate(branch.children) if not self._is_open(node, plan)]
        if not good or len(good) == len(branch.children):
            return branch
        if branch.strategy.mode == "loadbalance" and not any(branch.weights[i] for i in good):
            # What is left is never drawn: all that could be are open.
            return branch
        nodes = tuple(branch.children[i] for i in good)
        return replace(branch, children=nodes, weights=tuple(branch.weights[i] for i in good))

    def _is_open(self, node: Node, plan: Plan) -> bool:
        if isinstance(node, Target):
            return node.breaker is not None and self.circuits.is_open(circuit_name(node, plan))
        return all(self._is_open(one, plan) for one in node.children)

    def select(self, branch: StrategyNode, plan: Plan) -> Node:
        """Give the one node that a strategy other than fallback leads to."""
        if branch.strategy.mode == "conditional":
            return _select_conditional(branch, plan)
        if branch.strategy.mode == "loadbalance":
            return self._select_weighted(branch, plan)
        return branch.children[0]

    def _select_weighted(self, branch: StrategyNode, plan: Plan) -> Node:
        sticky = branch.strategy.sticky
        name = _sticky_key(sticky, branch, plan) if sticky and sticky.enabled else ""
        known = {
            node.config_path: node
            for node, it in zip(branch.children, branch.weights, strict=True)
            if it
        }
        if name and (node := known.get(self._sticky.get(name) or "")):
            return node
        place = self._sticky.hash_position(name) if name else None
        node = _child_at(branch, self._random() if place is None else place)
        if name and sticky:
            self._sticky.put(name, node.config_path, sticky.ttl)
        return node


def _child_at(branch: StrategyNode, place: float) -> Node:
    """Give the node at a place in [0, 1), each taking its share; one of weight 0 has none."""
    if not any(branch.weights):
        return branch.children[0]
    place *= sum(branch.weights)
    for node, weight in zip(branch.children, branch.weights, strict=True):
        if weight and place < weight:
            return node
        place -= weight
    return next(node for node, it in zip(branch.children, branch.weights, strict=True) if it)


def circuit_name(target: Target, plan: Plan) -> str:
    """Name a target's circuit: its place in its config, and what stands there now.

    What was known of another that stood there says nothing of it.
    """
    return f"{plan.scope}:{target.config_path}{_VERSION_SEPARATOR}{target.config_version}"


def circuit_location(circuit: str) -> str:
    """Give a target's place in its config by the name of its circuit.

    >>> place_of("saved:pc:config.targets[0]#1a2b3c4d")
    'saved:pc:config.targets[0]'
    """
    return circuit.partition(_VERSION_SEPARATOR)[0]


def request_facts(plan: Plan) -> RequestFacts:
    """Give what conditions and sticky choices can ask about."""
    return RequestFacts(plan.metadata, plan.params, plan.pathname)


def _select_conditional(branch: StrategyNode, plan: Plan) -> Node:
    facts = request_facts(plan)
    for test, number in branch.strategy.conditions:
        if test(facts):
            return branch.children[number]
    if branch.strategy.default is not None:
        return branch.children[branch.strategy.default]
    raise BadRequest(
        f"No condition of {branch.config_path} holds for this request, and it has no default.",
        code="no_condition_matched",
        param="x-portkey-config",
    )


def _sticky_key(sticky: StickyPolicy, branch: StrategyNode, plan: Plan) -> str:
    """Name who sticks, by the values of the fields; "" if the request has none of them."""
    facts = request_facts(plan)
    said = [facts.get(name) if facts.has(name) else None for name in sticky.hash_fields]
    if not any(value is not None for value in said):
        return ""
    named = [plan.scope, plan.root.config_version, plan.caller, branch.config_path, said]
    return hashlib.sha256(orjson.dumps(named, default=str)).hexdigest()
