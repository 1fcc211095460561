"""Fields of a body by dotted names: `options.seed` is `seed` in the object `options`.

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
    """Give what stands at a dotted name; None where nothing does."""
    if "." not in name:  # Most are: they need no splitting.
        return fields.get(name)
    first, *further = name.split(".")
    place = fields.get(first)
    for step in further:
        place = place.get(step) if isinstance(place, dict) else None
    return place


def is_occupied(fields: Fields, name: str) -> bool:
    """Tell whether something stands at a dotted name, or where an object on the way would be.

    >>> is_occupied({"image": "square"}, "image.width"), is_occupied({"image": {}}, "image.width")
    (True, False)
    """
    place: Any = fields
    for step in name.split("."):
        if not isinstance(place, Mapping):
            return True
        if (place := place.get(step)) is None:
            return False
    return True


def contains(there: Any, content: Any) -> bool:
    """Tell whether all of a content is there; an object may hold more."""
    if isinstance(there, dict) and isinstance(content, dict):
        return all(name in there and contains(there[name], it) for name, it in content.items())
    return bool(there == content)


def set_paths(fields: dict[str, Any], made: Fields) -> None:
    """Set fields by their dotted names, making the objects on the way.

    An object that is there already is copied and added to, not written into: it may be the
    client's own.
    """
    for name, content in made.items():
        if "." not in name:  # Most are: they need no splitting.
            fields[name] = _merge(fields[name], content) if name in fields else content
            continue
        *parents, last = name.split(".")
        place = fields
        for parent in parents:
            there = place.get(parent)
            place[parent] = dict(there) if isinstance(there, dict) else {}
            place = place[parent]
        place[last] = _merge(place.get(last), content)


def _merge(there: Any, content: Any) -> Any:
    """Add an object to the one that is there; anything else takes its place."""
    if not (isinstance(there, dict) and isinstance(content, dict)):
        return content
    return {**there, **{name: _merge(there.get(name), it) for name, it in content.items()}}
