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
from proxy.routing.circuit_breaker import Circuits
from proxy.routing.plan import Branch, Node, Plan, Target
from proxy.settings.conditions import Facts
from proxy.settings.policies import StickyPolicy

_MOST_STUCK = 100_000
_EDITION = "#"
_DIGITS = 13
"""Hex digits that a float holds without loss."""
_WHOLE = float(1 << 4 * _DIGITS)


class Stuck(Protocol):
    """Where it is kept which target a caller stuck to: memory, or a store that nodes share."""

    def get(self, name: str) -> str | None:
        """Give the index of the target that a name stuck to."""

    def put(self, name: str, index: str, seconds: float) -> None:
        """Let a name stick to a target for a while."""

    def place(self, name: str) -> float | None:
        """Give the place in [0, 1) by which a name is to be drawn for; None: by chance."""


class ComputedStuck:
    """Sticky choices that every process makes alike, without a word: a name draws by itself.

    They hold for as long as targets and weights stay the same.
    """

    def get(self, name: str) -> None:
        """Know nothing."""

    def put(self, name: str, index: str, seconds: float) -> None:
        """Keep nothing."""

    def place(self, name: str) -> float:
        """Give the place in [0, 1) that a name, a digest in hex, stands for."""
        return int(name[:_DIGITS], 16) / _WHOLE


class LocalStuck:
    """Sticky choices of this process, in memory, the longest unused given up first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._chosen: TLRUCache[str, tuple[str, float]] = TLRUCache(
            _MOST_STUCK, ttu=lambda _name, kept, now: now + kept[1], timer=clock
        )

    def get(self, name: str) -> str | None:
        """Give the index of the target that a name stuck to."""
        kept = self._chosen.get(name)
        return kept[0] if kept else None

    def put(self, name: str, index: str, seconds: float) -> None:
        """Let a name stick to a target for a while."""
        self._chosen[name] = (index, seconds)

    def place(self, name: str) -> None:
        """Leave it to chance."""


class Chooser:
    """Chooses; chance, circuits and sticky choices are given to it."""

    def __init__(
        self, circuits: Circuits, stuck: Stuck, chance: Callable[[], float] = random.random
    ) -> None:
        self.circuits = circuits
        self._stuck = stuck
        self._chance = chance

    def healthy(self, branch: Branch, plan: Plan) -> Branch:
        """Leave out the nodes whose circuits are open, unless all of them are.

        Conditional strategies are not considered: https://portkey.ai/docs/product/ai-gateway/circuit-breaker
        """
        if branch.strategy.mode == "conditional" or not branch.breaks:
            return branch
        good = [i for i, node in enumerate(branch.nodes) if not self._is_open(node, plan)]
        if not good or len(good) == len(branch.nodes):
            return branch
        if branch.strategy.mode == "loadbalance" and not any(branch.weights[i] for i in good):
            # What is left is never drawn: all that could be are open.
            return branch
        nodes = tuple(branch.nodes[i] for i in good)
        return replace(branch, nodes=nodes, weights=tuple(branch.weights[i] for i in good))

    def _is_open(self, node: Node, plan: Plan) -> bool:
        if isinstance(node, Target):
            return node.breaker is not None and self.circuits.is_open(circuit_of(node, plan))
        return all(self._is_open(one, plan) for one in node.nodes)

    def chosen(self, branch: Branch, plan: Plan) -> Node:
        """Give the one node that a strategy other than fallback leads to."""
        if branch.strategy.mode == "conditional":
            return _matching(branch, plan)
        if branch.strategy.mode == "loadbalance":
            return self._balanced(branch, plan)
        return branch.nodes[0]

    def _balanced(self, branch: Branch, plan: Plan) -> Node:
        sticky = branch.strategy.sticky
        name = _identity(sticky, branch, plan) if sticky and sticky.enabled else ""
        known = {
            node.index: node for node, it in zip(branch.nodes, branch.weights, strict=True) if it
        }
        if name and (node := known.get(self._stuck.get(name) or "")):
            return node
        place = self._stuck.place(name) if name else None
        node = _at(branch, self._chance() if place is None else place)
        if name and sticky:
            self._stuck.put(name, node.index, sticky.ttl)
        return node


def _at(branch: Branch, place: float) -> Node:
    """Give the node at a place in [0, 1), each taking its share; one of weight 0 has none."""
    if not any(branch.weights):
        return branch.nodes[0]
    place *= sum(branch.weights)
    for node, weight in zip(branch.nodes, branch.weights, strict=True):
        if weight and place < weight:
            return node
        place -= weight
    return next(node for node, it in zip(branch.nodes, branch.weights, strict=True) if it)


def circuit_of(target: Target, plan: Plan) -> str:
    """Name a target's circuit: its place in its config, and what stands there now.

    What was known of another that stood there says nothing of it.
    """
    return f"{plan.scope}:{target.index}{_EDITION}{target.edition}"


def place_of(circuit: str) -> str:
    """Give a target's place in its config by the name of its circuit.

    >>> place_of("saved:pc:config.targets[0]#1a2b3c4d")
    'saved:pc:config.targets[0]'
    """
    return circuit.partition(_EDITION)[0]


def facts_of(plan: Plan) -> Facts:
    """Give what conditions and sticky choices can ask about."""
    return Facts(plan.metadata, plan.params, plan.pathname)


def _matching(branch: Branch, plan: Plan) -> Node:
    facts = facts_of(plan)
    for test, number in branch.strategy.conditions:
        if test(facts):
            return branch.nodes[number]
    if branch.strategy.default is not None:
        return branch.nodes[branch.strategy.default]
    raise BadRequest(
        f"No condition of {branch.index} holds for this request, and it has no default.",
        code="no_condition_matched",
        param="x-portkey-config",
    )


def _identity(sticky: StickyPolicy, branch: Branch, plan: Plan) -> str:
    """Name who sticks, by the values of the fields; "" if the request has none of them."""
    facts = facts_of(plan)
    said = [facts.value(name) if facts.has(name) else None for name in sticky.hash_fields]
    if not any(value is not None for value in said):
        return ""
    named = [plan.scope, plan.root.edition, plan.caller, branch.index, said]
    return hashlib.sha256(orjson.dumps(named, default=str)).hexdigest()
