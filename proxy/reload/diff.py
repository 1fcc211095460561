"""What a reload has changed, by name: who may call, what is stored, what is saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.settings.loader import Settings

_MOST_NAMED = 50


def changes(before: Settings, after: Settings) -> str:
    """Say which API keys, virtual keys and configs were added, removed and changed.

    >>> from proxy.settings.loader import parse
    >>> texts = ("configs: {a: {provider: openai}, b: {}}", "configs: {a: {}, c: {}}")
    >>> changes(*(parse(text, environ={}) for text in texts))
    'configs: added c, removed b, changed a'
    """
    pairs = zip(_held(before).items(), _held(after).values(), strict=True)
    told = [(section, _changed(old, new)) for (section, old), new in pairs]
    return "; ".join(f"{section}: {what}" for section, what in told if what)


def _held(settings: Settings) -> dict[str, Mapping[str, Any]]:
    """Give what there is of each, by name, so that what is the same is equal."""
    return {
        "api_keys": {
            name: (digest, settings.default_configs.get(name))
            for digest, name in settings.api_keys.items()
        },
        "virtual_keys": settings.virtual_keys,
        "configs": settings.config_marks,
    }


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    what = {
        "added": new.keys() - old.keys(),
        "removed": old.keys() - new.keys(),
        "changed": {name for name in old.keys() & new.keys() if old[name] != new[name]},
    }
    return ", ".join(f"{verb} {_listed(names)}" for verb, names in what.items() if names)


def _listed(names: Iterable[str]) -> str:
    """List names, of many only the first."""
    first = sorted(names)
    more = len(first) - _MOST_NAMED
    return ", ".join(first[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
