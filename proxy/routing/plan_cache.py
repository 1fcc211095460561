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

from proxy.routing.targets import ResolveContext, virtual_key_in_model
from proxy.settings.routing_config import Config

_STRUCT_OVERHEAD_BYTES = 1024
"""Bytes of what is empty in a thing, and of what is noted of it later, as a target's digests."""
_MAX_KEY_LENGTH = 1024
"""A header may say what is of no use, at any length."""
_KEY_HEADERS = ("x-portkey-virtual-key", "x-portkey-request-timeout", "x-easel-unsupported")
"""Those that have a part in a tree, beside the provider."""

PlanKey = tuple[str, ...]


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SizedLRU(Generic[K, V]):
    """What was made before, by name: `most` bytes of it in all, the longest unused goes first.

    Each counts as `least` bytes or more. An OrderedDict keeps them since it runs in C, which
    cachetools does not.
    """

    def __init__(self, max_bytes: int, min_entry_bytes: int = 0) -> None:
        self._max_bytes = self._free_bytes = max_bytes
        self._min_entry_bytes = min_entry_bytes
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, name: K) -> V | None:
        """Give what is kept by a name, if it is."""
        kept = self._entries.get(name)
        if kept is None:
            return None
        self._entries.move_to_end(name)
        return kept[0]

    def put(self, name: K, value: V) -> None:
        """Keep a value by its name, in the place of another."""
        _, before = self._entries.pop(name, (None, 0))
        self._free_bytes += before
        size = max(memory_size((name, value)), self._min_entry_bytes)
        if size > self._max_bytes:
            return
        self._entries[name] = (value, size)
        self._free_bytes -= size
        while self._free_bytes < 0:
            _, (_, freed) = self._entries.popitem(last=False)
            self._free_bytes += freed


def memory_size(value: Any) -> int:
    """Count the bytes of memory that a config or a tree takes, what it holds twice once.

    >>> memory_size({"a": "x" * 1000}) - memory_size({"a": ""})
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
        size += _STRUCT_OVERHEAD_BYTES
        inside = filter(None, msgspec.structs.astuple(value))
    elif isinstance(value, Mapping):
        inside = [*value.keys(), *value.values()]
    elif isinstance(value, tuple | list | frozenset):
        inside = value
    return size + sum(_size(one, seen) for one in inside)


def plan_key(scope: str, asked: ResolveContext) -> PlanKey:
    """Name all that a tree is made of, beside the settings; () where a part is the client's own."""
    headers = asked.headers
    provider = headers.get("x-portkey-provider", "").strip()
    # A provider that is no virtual key is given the client's credential.
    if provider and not provider.startswith("@"):
        return ()
    if "x-portkey-forward-headers" in headers or "x-portkey-custom-host" in headers:
        return ()
    told = [headers.get(name, "").strip() for name in _KEY_HEADERS]
    return (scope, provider, virtual_key_in_model(asked.params.get("model")), *told)


def is_shareable(name: PlanKey, config: Config, asked: ResolveContext) -> bool:
    """Tell whether a config has neither a credential of its sender's nor names of headers."""
    if not name or sum(map(len, name)) > _MAX_KEY_LENGTH:
        return False
    return not any(
        it.forward_headers or (not asked.config_is_saved and (it.api_key or it.options))
        for it in config.leaves
    )
