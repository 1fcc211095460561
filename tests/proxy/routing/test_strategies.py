"""Target selection: by weight, sticky session, condition and circuit."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from adapters import get_adapter
from adapters.contract import Credentials
from proxy.errors import BadRequest
from proxy.routing.circuit_breaker import LocalCircuitBreakers
from proxy.routing.plan import Node, Plan, StrategyNode, Target
from proxy.routing.strategies import HashSticky, MemorySticky, StrategySelector, circuit_name
from proxy.settings.conditions import compile_query
from proxy.settings.policies import BreakerPolicy, StickyPolicy
from proxy.settings.routing_config import Strategy

BREAKER = BreakerPolicy(failure_threshold=1)


def target(i: int) -> Target:
    index = f"config.targets[{i}]"
    return Target(
        get_adapter("openai"), Credentials(), "https://x.test", breaker=BREAKER, config_path=index
    )


def branch(*weights: float, **strategy: Any) -> StrategyNode:
    nodes = tuple(target(i) for i in range(len(weights)))
    return StrategyNode(Strategy(**strategy), nodes, weights)


def plan(root: Node, **metadata: Any) -> Plan:
    return Plan(root, {}, "/v1/images/generations", "saved:x", metadata)


class Even:
    """A random function with evenly spaced values in [0, 1)."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._count = count()

    def __call__(self) -> float:
        return (next(self._count) % self._steps) / self._steps


def chooser(steps: int = 100, clock: Any = None) -> StrategySelector:
    stuck = MemorySticky(clock) if clock else MemorySticky()
    return StrategySelector(LocalCircuitBreakers(), stuck, Even(steps))


def drawn(root: StrategyNode, times: int = 100) -> Counter[str]:
    chooses = chooser(times)
    return Counter(chooses.select(root, plan(root)).config_path[-2] for _ in range(times))


def test_weights_are_shares() -> None:
    assert drawn(branch(0.7, 0.3, mode="loadbalance")) == {"0": 70, "1": 30}
    assert drawn(branch(5, 3, 2, mode="loadbalance")) == {"0": 50, "1": 30, "2": 20}


def test_a_weight_of_0_is_never_drawn() -> None:
    assert drawn(branch(0, 1, 0, mode="loadbalance")) == {"1": 100}


def test_single_is_the_first() -> None:
    assert drawn(branch(1, 1, mode="single")) == {"0": 100}


STICKY = StickyPolicy(("metadata.user",), ttl=60)


def test_the_same_fields_meet_the_same_target() -> None:
    root, chooses = branch(1, 1, mode="loadbalance", sticky=STICKY), chooser(2)
    first = {user: chooses.select(root, plan(root, user=user)) for user in "ab"}
    assert first["a"] is not first["b"]
    assert all(chooses.select(root, plan(root, user=user)) is first[user] for user in "abab")


def test_what_one_caller_stuck_to_is_not_anothers() -> None:
    root, chooses = branch(1, 1, mode="loadbalance", sticky=STICKY), chooser(2)
    ours = [replace(plan(root, user="a"), caller=name) for name in ("one", "other", "one")]
    assert [chooses.select(root, it).config_path[-2] for it in ours] == ["0", "1", "0"]


def test_what_stuck_comes_off_after_its_time() -> None:
    now = [0.0]
    root = branch(1, 1, mode="loadbalance", sticky=STICKY)
    chooses = chooser(2, lambda: now[0])
    first = chooses.select(root, plan(root, user="a"))
    now[0] = 61
    assert chooses.select(root, plan(root, user="a")) is not first


def test_processes_that_share_choose_alike_and_in_proportion() -> None:
    root = branch(3, 1, mode="loadbalance", sticky=STICKY)
    one, two = (StrategySelector(LocalCircuitBreakers(), HashSticky()) for _ in range(2))
    plans = [plan(root, user=str(user)) for user in range(2000)]
    found = [one.select(root, it).config_path[-2] for it in plans]
    assert found == [two.select(root, it).config_path[-2] for it in plans]
    shares = Counter(found)
    assert set(shares) == {"0", "1"}
    assert 1400 < shares["0"] < 1600


def test_without_the_fields_nothing_sticks() -> None:
    root, chooses = branch(1, 1, mode="loadbalance", sticky=STICKY), chooser(2)
    assert {chooses.select(root, plan(root)).config_path for _ in range(2)} == {
        n.config_path for n in root.children
    }


PAID = (compile_query({"metadata.plan": "paid"}), 1)
EU = (compile_query({"metadata.region": "eu"}), 2)


def test_the_first_condition_that_holds_leads() -> None:
    root = branch(1, 1, 1, mode="conditional", conditions=(PAID, EU), default=0)
    found = [
        chooser().select(root, plan(root, **it)).config_path[-2]
        for it in ({"plan": "paid", "region": "eu"}, {"region": "eu"}, {})
    ]
    assert found == ["1", "2", "0"]


def test_no_condition_and_no_default_is_the_clients_to_mend() -> None:
    root = branch(1, 1, mode="conditional", conditions=(PAID,))
    with pytest.raises(BadRequest):
        chooser().select(root, plan(root))


def opened(chooses: StrategySelector, root: StrategyNode, *which: int) -> StrategyNode:
    for i in which:
        node = root.children[i]
        assert isinstance(node, Target)
        for _ in range(2):
            chooses.circuits.on_result(circuit_name(node, plan(root)), BREAKER, 503)
    return chooses.without_open_circuits(root, plan(root))


def test_an_open_circuit_leaves_a_target_out() -> None:
    left = opened(chooser(), branch(1, 2, 3, mode="loadbalance"), 1)
    assert [node.config_path[-2] for node in left.children] == ["0", "2"]
    assert left.weights == (1, 3)


def edited(root: StrategyNode) -> StrategyNode:
    """Return a tree with the same paths and another host."""
    nodes = [
        replace(it, base_url="https://y.test") for it in root.children if isinstance(it, Target)
    ]
    return replace(root, children=tuple(nodes))


def test_what_stands_at_a_place_now_has_nothing_of_what_stood_there() -> None:
    chooses, root = chooser(), branch(1, 1, mode="fallback")
    assert len(opened(chooses, root, 0).children) == 1
    assert len(chooses.without_open_circuits(edited(root), plan(edited(root))).children) == 2
    assert len(chooses.without_open_circuits(root, plan(root)).children) == 1


def test_nobody_sticks_to_what_has_taken_a_place() -> None:
    sticky = StickyPolicy(hash_fields=("metadata.user",))
    chooses, root = chooser(2), branch(1, 1, mode="loadbalance", sticky=sticky)
    stuck = [chooses.select(root, plan(root, user="u")).config_path for _ in range(3)]
    assert len(set(stuck)) == 1
    other = edited(root)
    assert chooses.select(other, plan(other, user="u")).config_path != stuck[0]
    assert chooses.select(root, plan(root, user="u")).config_path == stuck[0]


def test_all_open_is_as_good_as_none() -> None:
    assert len(opened(chooser(), branch(1, 1, mode="fallback"), 0, 1).children) == 2


def test_a_weight_of_0_is_not_drawn_in_place_of_an_open_circuit() -> None:
    chooses, root = chooser(), branch(0, 1, mode="loadbalance")
    left = opened(chooses, root, 1)
    assert chooses.select(left, plan(root)).config_path[-2] == "1"


def test_conditions_do_not_ask_circuits() -> None:
    root = branch(1, 1, mode="conditional", conditions=(PAID,), default=0)
    assert opened(chooser(), root, 0) is root
