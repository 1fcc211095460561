"""Nested fields of a body by dotted path: `options.seed` is `seed` in the object `options`.

>>> body = {"options": {"a": 1}}
>>> set_paths(body, {"options.seed": 7})
>>> body, get_path(body, "options.seed")
({'options': {'a': 1, 'seed': 7}}, 7)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Any]


def get_path(fields: Fields, name: str) -> Any:
    """Return the value at a dotted path, None if there is none."""
    if "." not in name:  # The common case.
        return fields.get(name)
    first, *rest = name.split(".")
    node = fields.get(first)
    for key in rest:
        node = node.get(key) if isinstance(node, dict) else None
    return node


def is_occupied(fields: Fields, name: str) -> bool:
    """Whether a dotted path cannot be set without overwriting a value on its way.

    >>> is_occupied({"image": "square"}, "image.width"), is_occupied({"image": {}}, "image.width")
    (True, False)
    """
    node: Any = fields
    for key in name.split("."):
        if not isinstance(node, Mapping):
            return True
        if (node := node.get(key)) is None:
            return False
    return True


def contains(value: Any, expected: Any) -> bool:
    """Whether a value equals `expected`; an object may have additional fields."""
    if isinstance(value, dict) and isinstance(expected, dict):
        return all(key in value and contains(value[key], it) for key, it in expected.items())
    return bool(value == expected)


def set_paths(fields: dict[str, Any], values: Fields) -> None:
    """Set values at dotted paths, creating objects as needed.

    An existing object is copied before it is extended, because it may belong to the client's
    parameters.
    """
    for name, content in values.items():
        if "." not in name:  # The common case.
            fields[name] = _merge(fields[name], content) if name in fields else content
            continue
        *parents, last = name.split(".")
        node = fields
        for parent in parents:
            child = node.get(parent)
            node[parent] = dict(child) if isinstance(child, dict) else {}
            node = node[parent]
        node[last] = _merge(node.get(last), content)


def _merge(old: Any, new: Any) -> Any:
    """Return two objects merged; any other `new` value replaces `old`."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{name: _merge(old.get(name), value) for name, value in new.items()}}
