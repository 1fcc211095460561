"""Reading a provider's JSON without trusting its shape.

Nothing here raises: what is not there, or is of another type, is None or "".
"""

from __future__ import annotations

from typing import Any, TypeVar

import orjson

T = TypeVar("T")


def dig(tree: Any, *path: str | int) -> Any:
    """Follow keys and indexes into parsed JSON; None as soon as one is missing.

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
    """Follow `path` and give what is there if it is a `kind`, else None.

    >>> dig_typed({"seed": "7"}, "seed", kind=int) is None
    True
    """
    found = dig(tree, *path)
    return found if isinstance(found, kind) else None


def dig_str(tree: Any, *path: str | int) -> str:
    """Follow `path` and give the string there, else "".

    >>> dig_str({"error": {"message": "no"}}, "error", "message")
    'no'
    """
    found = dig(tree, *path)
    return found if isinstance(found, str) else ""


def find_str(tree: Any, name: str) -> str:
    """Give the first string that stands under `name`, however deep; "" when there is none.

    >>> find_str({"job": [{"cost": None}, {"jobId": "7"}]}, "jobId")
    '7'
    """
    left = [tree]
    while left:
        branch = left.pop()
        if found := dig_str(branch, name):
            return found
        if isinstance(branch, dict | list):
            left.extend(reversed([*(branch.values() if isinstance(branch, dict) else branch)]))
    return ""


def dig_list(tree: Any, *path: str | int) -> list[Any]:
    """Follow `path` and give the list there, else an empty one.

    >>> dig_list({"images": None}, "images")
    []
    """
    found = dig(tree, *path)
    return found if isinstance(found, list) else []


def without_none(**found: Any) -> dict[str, Any]:
    """Give what was found, without what was not.

    >>> without_none(seed=7, revised_prompt=None)
    {'seed': 7}
    """
    return {name: value for name, value in found.items() if value is not None}


def find_urls(tree: Any) -> list[str]:
    """Collect all URLs in a value: it is one, or a list or an object of them, however deep.

    >>> find_urls({"first": "https://p.test/1", "others": ["https://p.test/2", "not a place"]})
    ['https://p.test/1', 'https://p.test/2']
    """
    left, found = [tree], []
    while left:
        match left.pop():
            case dict(branches):
                left.extend(reversed(branches.values()))
            case list(branches):
                left.extend(reversed(branches))
            case str(text) if text.startswith(("https://", "http://", "data:")):
                found.append(text)
    return found


def parse_usage(tree: Any, *path: str | int) -> dict[str, Any] | None:
    """Read a count of tokens as OpenAI's usage object, whichever words the provider has for it.

    What else the provider counted (`cost`, pictures) stays in it. None when nothing was counted.

    >>> parse_usage({"usage": {"prompt_tokens": 2, "completion_tokens": 3, "cost": 0.04}}, "usage")
    {'cost': 0.04, 'input_tokens': 2, 'output_tokens': 3, 'total_tokens': 5, \
'input_tokens_details': {'text_tokens': 2, 'image_tokens': 0}}
    """
    told = dig_typed(tree, *path, kind=dict)
    if not told:
        return None
    known = {**told}
    input_tokens = _count(known, "input_tokens", "prompt_tokens", "num_input_text_tokens")
    output_tokens = _count(known, "output_tokens", "completion_tokens", "num_output_tokens")
    total = _count(known, "total_tokens") or input_tokens + output_tokens
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


def _count(told: dict[str, Any], *names: str) -> int:
    """Take the first of some names out of a count; 0 when none holds a whole number."""
    found = [told.pop(name, None) for name in names]
    return next((it for it in found if isinstance(it, int) and not isinstance(it, bool)), 0)


def parse_json(text: str) -> Any:
    """Parse a text that holds JSON; None where it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
