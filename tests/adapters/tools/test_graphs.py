"""Templates: which one it is, and how its slots are filled."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.errors import BadParam
from adapters.tools.graphs import fill, find_slots, params_without_slot, select_graph

GRAPH = {"nodes": {"1": {"text": "{{prompt}}"}}}
OTHER = {"nodes": {"2": {"text": "{{prompt}}, small", "size": ["{{width}}"]}}}


def is_graph(tree: Any) -> bool:
    return isinstance(tree, dict) and "nodes" in tree


def select(tree: Any, model: str = "") -> Any:
    return select_graph("acme_graph", orjson.dumps(tree).decode(), model, is_graph=is_graph)


def test_the_only_template_serves_every_model() -> None:
    assert select(GRAPH) == select(GRAPH, "whatever") == GRAPH


def test_the_model_picks_one_of_several_and_none_the_first() -> None:
    both = {"large": GRAPH, "small": OTHER}
    assert select(both, "small") == OTHER
    assert select(both) == select(both, "default") == GRAPH


def test_a_model_without_a_template_is_told_of_those_there_are() -> None:
    with pytest.raises(BadParam, match="large, small") as caught:
        select({"large": GRAPH, "small": OTHER}, "huge")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("tree", [{}, [], None, 7, {"large": {}}, {"large": GRAPH, "small": []}])
def test_what_is_no_template_is_the_operators_to_mend(tree: Any) -> None:
    with pytest.raises(BadParam) as caught:
        select(tree)
    assert (caught.value.param, caught.value.code) == ("acme_graph", "option_needed")


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "not set"), ("{no json", "must be a graph"), ("null", "must be a graph")],
)
def test_what_is_no_json_is_no_template(text: str, said: str) -> None:
    with pytest.raises(BadParam, match=f"acme_graph.* {said}") as caught:
        select_graph("acme_graph", text, "", is_graph=is_graph)
    assert caught.value.code == "option_needed"


def test_a_slot_alone_takes_the_value_with_its_type() -> None:
    assert fill(["{{seed}}", "{{ seed }}", "seed {{seed}}"], {"seed": 7}) == [7, 7, "seed 7"]


def test_a_value_is_not_looked_into_for_slots() -> None:
    values = {"prompt": "{{seed}}", "seed": 7}
    assert fill(["{{prompt}}", "a {{prompt}}"], values) == ["{{seed}}", "a {{seed}}"]


@pytest.mark.parametrize("prompt", ['"}, "x": {"', "\n", "\\", "{{", "}}"])
def test_no_prompt_changes_the_tree(prompt: str) -> None:
    made = fill(OTHER, {"prompt": prompt, "width": 8})
    assert made == {"nodes": {"2": {"text": f"{prompt}, small", "size": [8]}}}


def test_names_are_no_slots_and_the_template_is_left_as_it_was() -> None:
    tree = {"{{seed}}": "{{seed}}"}
    assert fill(tree, {"seed": 7}) == {"{{seed}}": 7}
    assert tree == {"{{seed}}": "{{seed}}"}


def test_the_slots_of_a_template_can_be_named() -> None:
    assert set(find_slots(OTHER)) == {"prompt", "width"}


def test_what_a_template_has_no_slot_for_is_withheld() -> None:
    assert params_without_slot(lambda: OTHER) == {"negative_prompt", "seed"}
    assert params_without_slot(dict) == {"prompt", "negative_prompt", "seed", "size"}
    assert params_without_slot(lambda: select_graph("graph", "", "", is_graph=bool)) == set()
