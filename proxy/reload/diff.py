"""Describes what a reload changed: names of API keys, virtual keys and configs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.settings.loader import Settings

_MAX_NAMES = 50


def describe_changes(before: Settings, after: Settings) -> str:
    """Return which API keys, virtual keys and configs were added, removed and changed.

    >>> from proxy.settings.loader import parse
    >>> texts = ("configs: {a: {provider: openai}, b: {}}", "configs: {a: {}, c: {}}")
    >>> describe_changes(*(parse(text, environ={}) for text in texts))
    'configs: added c, removed b, changed a'
    """
    pairs = zip(_named_entries(before).items(), _named_entries(after).values(), strict=True)
    descriptions = [(section, _describe_section(old, new)) for (section, old), new in pairs]
    return "; ".join(f"{section}: {what}" for section, what in descriptions if what)


def _named_entries(settings: Settings) -> dict[str, Mapping[str, Any]]:
    """Return each section's entries by name; equal values mean no change."""
    return {
        "api_keys": {
            name: (digest, settings.default_configs.get(name), name in settings.coalescing_keys)
            for digest, name in settings.api_keys.items()
        },
        "virtual_keys": settings.virtual_keys,
        "configs": settings.config_hashes,
    }


def _describe_section(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    what = {
        "added": new.keys() - old.keys(),
        "removed": old.keys() - new.keys(),
        "changed": {name for name in old.keys() & new.keys() if old[name] != new[name]},
    }
    return ", ".join(f"{verb} {_join_names(names)}" for verb, names in what.items() if names)


def _join_names(names: Iterable[str]) -> str:
    """Join names, of many only the first."""
    first = sorted(names)
    more = len(first) - _MAX_NAMES
    return ", ".join(first[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
