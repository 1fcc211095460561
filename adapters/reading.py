"""Reading a provider's JSON without trusting its shape.

Nothing here raises: what is not there, or is of another type, is None or "".
"""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def at(tree: Any, *path: str | int) -> Any:
    """Follow keys and indexes into parsed JSON; None as soon as one is missing.

    >>> at({"data": [{"url": "u"}]}, "data", 0, "url")
    'u'
    >>> at({"data": []}, "data", 0, "url") is None
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


def pick(tree: Any, *path: str | int, kind: type[T]) -> T | None:
    """Follow `path` and give what is there if it is a `kind`, else None.

    >>> pick({"seed": "7"}, "seed", kind=int) is None
    True
    """
    found = at(tree, *path)
    return found if isinstance(found, kind) else None


def text_at(tree: Any, *path: str | int) -> str:
    """Follow `path` and give the string there, else "".

    >>> text_at({"error": {"message": "no"}}, "error", "message")
    'no'
    """
    return pick(tree, *path, kind=str) or ""


def items_at(tree: Any, *path: str | int) -> list[Any]:
    """Follow `path` and give the list there, else an empty one.

    >>> items_at({"images": None}, "images")
    []
    """
    return pick(tree, *path, kind=list) or []
