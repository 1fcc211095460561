"""Access to untrusted JSON of providers.

Nothing here raises: a missing value, or one of another type, is None, "" or an empty list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from adapters.tools.lenient_json import read_json

T = TypeVar("T")

_TOO_BIG = 2**64
"""The first integer that is too large for the JSON writer."""
_MAX_TEXT = 1024 * 1024
"""Longest JSON inside of a string, in characters: its values are not counted in advance."""


def dig(tree: Any, *path: str | int) -> Any:
    """Return the value at a path of keys and indexes, None if there is none.

    >>> dig({"data": [{"url": "u"}]}, "data", 0, "url")
    'u'
    >>> dig({"data": []}, "data", 0, "url") is None
    True
    """
    for step in path:
        if isinstance(step, str):
            tree = tree.get(step) if isinstance(tree, dict) else None
        else:
            tree = tree[step] if isinstance(tree, list) and -len(tree) <= step < len(tree) else None
        if tree is None:
            return None
    return tree


def dig_typed(tree: Any, *path: str | int, kind: type[T]) -> T | None:
    """Return the value at a path if it has the type `kind`, else None.

    A whole float is an int as well, an int is a float as well; a bool is neither.

    >>> dig_typed({"seed": "7"}, "seed", kind=int) is None
    True
    >>> dig_typed({"seed": 42.0}, "seed", kind=int)
    42
    """
    found = dig(tree, *path)
    if kind is int or kind is float:
        found = _as_number(found, kind)
    return found if isinstance(found, kind) else None


def dig_count(tree: Any, *path: str | int) -> int:
    """Return the number at a path as a count, rounded half up; 0 if there is none.

    >>> dig_count({"tokens": 14417.92}, "tokens"), dig_count({"tokens": 2.5}, "tokens")
    (14418, 3)
    """
    return _rounded(dig(tree, *path)) or 0


def _as_number(value: Any, kind: type) -> Any:
    """Return a number as an int if it is one, or as a float; None if it is not such a number."""
    if not _is_number(value):
        return None
    return kind(value) if kind is float or value == math.floor(value) else None


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that JSON can hold as an integer, too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _TOO_BIG


def _rounded(value: Any) -> int | None:
    """Return a number rounded half up, None if it is no number."""
    return math.floor(value + 0.5) if _is_number(value) else None


def dig_str(tree: Any, *path: str | int) -> str:
    """Return the string at a path, else "".

    >>> dig_str({"error": {"message": "no"}}, "error", "message")
    'no'
    """
    found = dig(tree, *path)
    return found if isinstance(found, str) else ""


def find_str(tree: Any, name: str) -> str:
    """Return the first string under the key `name` at any depth, "" if there is none.

    >>> find_str({"job": [{"cost": None}, {"jobId": "7"}]}, "jobId")
    '7'
    """
    stack = [tree]
    while stack:
        node = stack.pop()
        if found := dig_str(node, name):
            return found
        if isinstance(node, dict | list):
            stack.extend(reversed([*(node.values() if isinstance(node, dict) else node)]))
    return ""


def dig_list(tree: Any, *path: str | int) -> list[Any]:
    """Return the list at a path, else an empty one.

    >>> dig_list({"images": None}, "images")
    []
    """
    found = dig(tree, *path)
    return found if isinstance(found, list) else []


def without_none(**values: Any) -> dict[str, Any]:
    """Return the arguments that are not None.

    >>> without_none(seed=7, revised_prompt=None)
    {'seed': 7}
    """
    return {name: value for name, value in values.items() if value is not None}


def find_urls(tree: Any) -> list[str]:
    """Return all URLs in a value at any depth, in order.

    >>> find_urls({"first": "https://p.test/1", "others": ["https://p.test/2", "not a URL"]})
    ['https://p.test/1', 'https://p.test/2']
    """
    stack, urls = [tree], []
    while stack:
        match stack.pop():
            case dict(children):
                stack.extend(reversed(children.values()))
            case list(children):
                stack.extend(reversed(children))
            case str(text) if text.lstrip().startswith(("https://", "http://", "data:")):
                urls.append(text)
    return urls


def parse_usage(tree: Any, *path: str | int) -> dict[str, Any] | None:
    """Return a provider's token counts as OpenAI's usage object, None if there are none.

    Other counts of the provider (`cost`, images) stay in it.

    >>> parse_usage({"usage": {"prompt_tokens": 2, "completion_tokens": 3, "cost": 0.04}}, "usage")
    {'cost': 0.04, 'input_tokens': 2, 'output_tokens': 3, 'total_tokens': 5, \
'input_tokens_details': {'text_tokens': 2, 'image_tokens': 0}}
    """
    counts = dig_typed(tree, *path, kind=dict)
    if not counts:
        return None
    known = round_counts(counts)
    input_tokens = _pop_count(known, "input_tokens", "prompt_tokens", "num_input_text_tokens")
    output_tokens = _pop_count(known, "output_tokens", "completion_tokens", "num_output_tokens")
    total = _pop_count(known, "total_tokens") or input_tokens + output_tokens
    details = known.pop("input_tokens_details", None)
    return {
        **known,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": total,
        "input_tokens_details": details
        if isinstance(details, dict)
        else {"text_tokens": input_tokens, "image_tokens": 0},
    }


def _pop_count(counts: dict[str, Any], *names: str) -> int:
    """Remove all `names` and return the first that is a number, rounded, else 0."""
    found = [_rounded(counts.pop(name, None)) for name in names]
    return next((it for it in found if it is not None), 0)


def round_counts(usage: Mapping[str, Any], *, depth: int = 3) -> dict[str, Any]:
    """Return a usage object with its token counts rounded half up, `depth` objects deep.

    >>> round_counts({"total_tokens": 14429.92, "cost": 0.5, "details": {"text_tokens": 12.0}})
    {'total_tokens': 14430, 'cost': 0.5, 'details': {'text_tokens': 12}}
    """
    counts: dict[str, Any] = {}
    for name, value in usage.items():
        if isinstance(value, dict) and depth > 1:
            counts[name] = round_counts(value, depth=depth - 1)
        elif isinstance(value, float) and name.endswith("tokens"):
            counts[name] = _rounded(value)
        else:
            counts[name] = value
    return counts


def parse_json(text: str) -> Any:
    """Return parsed JSON, None if the text is not JSON or longer than `_MAX_TEXT`."""
    return read_json(text.encode())[0] if len(text) <= _MAX_TEXT else None
