"""Templates of the operator's: JSON with named slots, filled in with what the client asked for.

The law: a value is put into the parsed tree. No text is ever put together and then parsed, so
that nothing in a prompt can become a part of the tree.

>>> tree = {"text": "{{prompt}}, oil on canvas", "size": ["{{width}}", 512], "note": "{{other}}"}
>>> fill(tree, {"prompt": 'a "cube"', "width": 1024})
{'text': 'a "cube", oil on canvas', 'size': [1024, 512], 'note': '{{other}}'}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from adapters.errors import BadParam
from adapters.table.param import Param
from adapters.tools import sizes
from adapters.tools.json_access import parse_json

ROWS = (
    Param("prompt"),
    Param("negative_prompt"),
    # Sides are multiples of 8, for FLUX of 16.
    Param("size", convert=sizes.pixels(low=16, high=16_384, step=16), default="1024x1024"),
)
"""What every graph that draws can be asked."""

DEFAULT_MODEL = "default"
"""A model's name that means the first template."""

SLOTS = ("prompt", "negative_prompt", "width", "height", "seed", "n")
"""What a template of a graph that draws can have a slot for."""

_SLOT = re.compile(r"\{\{ *(\w+) *\}\}")


def select_graph(option: str, text: str, model: str, *, is_graph: Callable[[Any], bool]) -> Any:
    """Give the template that an option's `text` holds, or, where it holds several, the model's.

    `is_one` tells whether a tree is a template. Several are an object of them, by name; the first
    is taken where the client names none. Raises `BadParam`.
    """
    if not text:
        raise BadParam(
            option,
            f"{option} is not set: the operator keeps a graph in the API's own format there, in a "
            "virtual key of the settings.",
            code="option_needed",
        )
    tree = parse_json(text)
    if is_graph(tree):
        return tree
    named = tree if isinstance(tree, dict) else {}
    if not (named and all(map(is_graph, named.values()))):
        raise BadParam(
            option, f"{option} must hold a graph in the API's own format.", code="option_needed"
        )
    if model in ("", DEFAULT_MODEL):
        return next(iter(named.values()))
    if model not in named:
        raise BadParam(
            "model", f"'model' must be one of {', '.join(named)}.", code="model_not_found"
        )
    return named[model]


def slot_values(fields: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Give the values of `SLOTS` that are among a call's fields, and `others` over them.

    >>> slot_values({"prompt": "a cube", "steps": 4}, seed=7)
    {'negative_prompt': '', 'prompt': 'a cube', 'seed': 7}
    """
    asked = {name: fields[name] for name in SLOTS if name in fields}
    return {"negative_prompt": "", **asked, **others}


def find_slots(tree: Any) -> Iterator[str]:
    """Name the slots of a template, in any order, each as often as it is there."""
    if isinstance(tree, dict | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from find_slots(branch)
    elif isinstance(tree, str):
        yield from _SLOT.findall(tree)


def params_without_slot(choose: Callable[[], Any]) -> frozenset[str]:
    """Name the parameters that the chosen template has no slot for; of no template, none.

    >>> sorted(params_without_slot(lambda: {"text": "{{prompt}}", "width": "{{width}}"}))
    ['negative_prompt', 'seed']
    """
    try:
        there = set(find_slots(choose()))
    except BadParam:
        return frozenset()
    sized = {"size"} if there & {"width", "height"} else set[str]()
    return frozenset({"prompt", "negative_prompt", "seed", "size"} - there - sized)


def fill(tree: Any, values: Mapping[str, Any]) -> Any:
    """Give a copy in which every slot holds its value; a slot that has none stays as it is.

    A text that is one slot takes the value with its type, a longer one takes it as text.
    """
    if isinstance(tree, dict):
        return {name: fill(branch, values) for name, branch in tree.items()}
    if isinstance(tree, list):
        return [fill(branch, values) for branch in tree]
    if not isinstance(tree, str):
        return tree
    alone = _SLOT.fullmatch(tree)
    if alone and alone[1] in values:
        return values[alone[1]]
    return _SLOT.sub(lambda found: str(values.get(found[1], found[0])), tree)
