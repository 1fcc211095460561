"""Graphs of ComfyUI and InvokeAI: an operator's JSON templates with slots such as `{{prompt}}`.

Values are inserted into the parsed tree. Text is never concatenated and then parsed, so a prompt
cannot change the structure of a graph.

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
"""Parameters that every graph can have slots for."""

DEFAULT_MODEL = "default"
"""The model name of the first graph."""

SLOTS = ("prompt", "negative_prompt", "width", "height", "seed", "n")
"""Names of the slots that a graph can have."""

_SLOT = re.compile(r"\{\{ *(\w+) *\}\}")


def select_graph(option: str, text: str, model: str, *, is_graph: Callable[[Any], bool]) -> Any:
    """Return the graph in an option's JSON `text`.

    The text is one graph (`is_graph` decides) or an object of several by model name, of which the
    first is the default. Raises `BadParam` if there is no such graph.
    """
    if not text:
        raise BadParam(
            option,
            f"{option} is not set. The operator must set it to a graph in the API's own format, in "
            "a virtual key of the settings.",
            code="option_needed",
        )
    tree = parse_json(text)
    if is_graph(tree):
        return tree
    graphs = tree if isinstance(tree, dict) else {}
    if not (graphs and all(map(is_graph, graphs.values()))):
        raise BadParam(
            option, f"{option} must be a graph in the API's own format.", code="option_needed"
        )
    if model in ("", DEFAULT_MODEL):
        return next(iter(graphs.values()))
    if model not in graphs:
        raise BadParam(
            "model", f"'model' must be one of {', '.join(graphs)}.", code="model_not_found"
        )
    return graphs[model]


def slot_values(fields: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Return the values of `SLOTS` from a call's fields, overridden by `others`.

    >>> slot_values({"prompt": "a cube", "steps": 4}, seed=7)
    {'negative_prompt': '', 'prompt': 'a cube', 'seed': 7}
    """
    values = {name: fields[name] for name in SLOTS if name in fields}
    return {"negative_prompt": "", **values, **others}


def find_slots(tree: Any) -> Iterator[str]:
    """Yield the names of all slots in a graph, with repetitions."""
    if isinstance(tree, dict | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from find_slots(branch)
    elif isinstance(tree, str):
        yield from _SLOT.findall(tree)


def params_without_slot(select: Callable[[], Any]) -> frozenset[str]:
    """Return the parameters that the selected graph has no slot for; none if selecting fails.

    >>> sorted(params_without_slot(lambda: {"text": "{{prompt}}", "width": "{{width}}"}))
    ['negative_prompt', 'seed']
    """
    try:
        slots = set(find_slots(select()))
    except BadParam:
        return frozenset()
    sized = {"size"} if slots & {"width", "height"} else set[str]()
    return frozenset({"prompt", "negative_prompt", "seed", "size"} - slots - sized)


def fill(tree: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy of a graph in which every slot with a value is replaced by it.

    A string that is exactly one slot becomes the value with its type; in a longer string the value
    is inserted as text.
    """
    if isinstance(tree, dict):
        return {name: fill(branch, values) for name, branch in tree.items()}
    if isinstance(tree, list):
        return [fill(branch, values) for branch in tree]
    if not isinstance(tree, str):
        return tree
    whole = _SLOT.fullmatch(tree)
    if whole and whole[1] in values:
        return values[whole[1]]
    return _SLOT.sub(lambda match: str(values.get(match[1], match[0])), tree)
