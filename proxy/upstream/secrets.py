"""Which texts of a target's credential are secret."""

from __future__ import annotations

from functools import lru_cache

from adapters.contract import Adapter
from proxy.plan import Target

_SHORTEST_SECRET = 8


def secrets_of(target: Target) -> frozenset[str]:
    """Give the secret values of a target's credential, to blot them out of texts.

    A placeholder such as `x` is no secret: blotting it out would only spoil the text.
    """
    credentials = target.credentials
    values = {credentials.api_key, *(credentials[name] for name in _names(target.adapter))}
    values |= {it.replace("/", "\\/") for it in values if "/" in it}  # as some write it in JSON
    return frozenset(it for it in values if len(it) >= _SHORTEST_SECRET)


@lru_cache
def _names(adapter: Adapter) -> tuple[str, ...]:
    return tuple(option.name for option in adapter.options if option.secret)
