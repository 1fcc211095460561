"""What was read or resolved before: most requests say what others said, and lead where they led.

The law: of one client's nothing is kept in a tree of targets, neither a credential nor a header
that is forwarded; and whatever is kept, its bytes are counted.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from proxy.routing.targets import Asked, slug_of
from proxy.settings.routing_config import Config

_BESIDE = 1024
"""Bytes of what is empty in a thing, and of what is noted of it later, as a target's digests."""
_LONGEST_NAME = 1024
"""A header may say what is of no use, at any length."""
_HEADERS = ("x-portkey-virtual-key", "x-portkey-request-timeout", "x-easel-unsupported")
"""Those that have a part in a tree, beside the provider."""

Name = tuple[str, ...]


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """What was made before, by name: `most` bytes of it in all, the longest unused goes first.

    Each counts as `least` bytes or more. An OrderedDict keeps them since it runs in C, which
    cachetools does not.
    """

    def __init__(self, most: int, least: int = 0) -> None:
        self._most = self._left = most
        self._least = least
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def found(self, name: K) -> V | None:
        """Give what is kept by a name, if it is."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        self._kept.move_to_end(name)
        return kept[0]

    def keep(self, name: K, value: V) -> None:
        """Keep a value by its name, in the place of another."""
        _, before = self._kept.pop(name, (None, 0))
        self._left += before
        size = max(size_of((name, value)), self._least)
        if size > self._most:
            return
        self._kept[name] = (value, size)
        self._left -= size
        while self._left < 0:
            _, (_, freed) = self._kept.popitem(last=False)
            self._left += freed


def size_of(value: Any) -> int:
    """Count the bytes of memory that a config or a tree takes, what it holds twice once.

    >>> size_of({"a": "x" * 1000}) - size_of({"a": ""})
    1000
    """
    seen: set[int] = set()
    return _size(value, seen)


def _size(value: Any, seen: set[int]) -> int:
    if id(value) in seen:
        return 0
    seen.add(id(value))
    size = sys.getsizeof(value)
    inside: Iterable[Any] = ()
    if isinstance(value, msgspec.Struct):
        size += _BESIDE
        inside = filter(None, msgspec.structs.astuple(value))
    elif isinstance(value, Mapping):
        inside = [*value.keys(), *value.values()]
    elif isinstance(value, tuple | list | frozenset):
        inside = value
    return size + sum(_size(one, seen) for one in inside)


def name_of(scope: str, asked: Asked) -> Name:
    """Name all that a tree is made of, beside the settings; () where a part is the client's own."""
    headers = asked.headers
    provider = headers.get("x-portkey-provider", "").strip()
    # A provider that is no virtual key is given the client's credential.
    if provider and not provider.startswith("@"):
        return ()
    if "x-portkey-forward-headers" in headers or "x-portkey-custom-host" in headers:
        return ()
    told = [headers.get(name, "").strip() for name in _HEADERS]
    return (scope, provider, slug_of(asked.params.get("model")), *told)


def is_anybodys(name: Name, config: Config, asked: Asked) -> bool:
    """Tell whether a config has neither a credential of its sender's nor names of headers."""
    if not name or sum(map(len, name)) > _LONGEST_NAME:
        return False
    return not any(
        it.forward_headers or (not asked.saved and (it.api_key or it.options))
        for it in config.leaves
    )
