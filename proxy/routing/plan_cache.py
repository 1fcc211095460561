"""LRU caches of parsed configs and resolved plans: most requests repeat an earlier one's routing.

Invariant: a cached tree of targets holds no credential and no forwarded header of a client, and the
bytes of every cached value are counted.
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
"""Bytes added per struct, for empty fields and for digests that are computed later."""
_MAX_KEY_LENGTH = 1024
"""Headers may be long and useless: longer keys are not cached."""
_KEY_HEADERS = ("x-portkey-virtual-key", "x-portkey-request-timeout", "x-easel-unsupported")
"""The headers that a tree depends on, besides the provider."""

PlanKey = tuple[str, ...]


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SizedLRU(Generic[K, V]):
    """An LRU cache that is limited by the memory of its entries, in bytes.

    Each entry counts as `min_entry_bytes` or more. It uses an OrderedDict because that is
    implemented in C, unlike the caches of cachetools.
    """

    def __init__(self, max_bytes: int, min_entry_bytes: int = 0) -> None:
        self._max_bytes = self._free_bytes = max_bytes
        self._min_entry_bytes = min_entry_bytes
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V) -> None:
        """Store a value, unless it is larger than the cache; evict the least recently used."""
        _, old_size = self._entries.pop(key, (None, 0))
        self._free_bytes += old_size
        size = max(memory_size((key, value)), self._min_entry_bytes)
        if size > self._max_bytes:
            return
        self._entries[key] = (value, size)
        self._free_bytes -= size
        while self._free_bytes < 0:
            _, (_, freed) = self._entries.popitem(last=False)
            self._free_bytes += freed


def memory_size(value: Any) -> int:
    """Return the bytes of memory of a config or a tree; a value that occurs twice counts once.

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
    return size + sum(_size(item, seen) for item in inside)


def plan_key(scope: str, context: ResolveContext) -> PlanKey:
    """Return everything besides the settings that a tree depends on; () if it is not shareable."""
    headers = context.headers
    provider = headers.get("x-portkey-provider", "").strip()
    # A provider that is not a virtual key gets the client's credential.
    if provider and not provider.startswith("@"):
        return ()
    if "x-portkey-forward-headers" in headers or "x-portkey-custom-host" in headers:
        return ()
    values = [headers.get(name, "").strip() for name in _KEY_HEADERS]
    return (scope, provider, virtual_key_in_model(context.params.get("model")), *values)


def is_shareable(key: PlanKey, config: Config, context: ResolveContext) -> bool:
    """Return whether a tree may serve all callers: no client credential, no forwarded headers."""
    if not key or sum(map(len, key)) > _MAX_KEY_LENGTH:
        return False
    return not any(
        leaf.forward_headers or (not context.config_is_saved and (leaf.api_key or leaf.options))
        for leaf in config.leaves
    )
