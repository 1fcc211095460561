"""Which settings a reload applies at once, and which need a restart.

Invariant: a setting that needs a restart keeps its old value everywhere until then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import structs

import adapters
from proxy.settings.loader import TOP_LEVEL_KEYS, Settings
from proxy.settings.schema import SECTIONS

HOT_RELOADABLE = frozenset(
    {
        adapters.DEMO,
        *("api_keys", "virtual_keys", "configs", "trusted_custom_hosts", "prices"),
        *("server.public_url", "server.allowed_hosts", "server.trusted_proxies"),
        "server.cors_origins",
        *("limits.values", "limits.params"),
        *("limits.prompt_characters", "limits.images", "limits.attempts"),
        *("limits.reply_bytes", "limits.image_bytes", "timeouts.total"),
        *("images.unsupported", "images.incomplete", "images.comment_seconds"),
        *("jobs.wait_seconds", "blobs.persist_urls", "log.prompts", "log.level", "metrics.access"),
    }
)
"""The settings that requests read from their snapshot. All others are read at start-up."""

_TOP_LEVEL = sorted(TOP_LEVEL_KEYS - SECTIONS.keys() - HOT_RELOADABLE)
"""Top-level keys that need a restart and are not sections."""


def restart_required(began: Settings, read: Settings) -> tuple[str, ...]:
    """Return the changed settings that need a restart, as dotted keys."""
    there = {**_restart_values(began), **{name: getattr(began, name) for name in _TOP_LEVEL}}
    now = {**_restart_values(read), **{name: getattr(read, name) for name in _TOP_LEVEL}}
    return tuple(name for name, value in now.items() if there[name] != value)


def apply_hot(running: Settings, read: Settings) -> Settings:
    """Return `read`, with the running values of all settings that need a restart."""
    sections = {
        name: structs.replace(
            getattr(read, name), **_section_restart_values(getattr(running, name), name)
        )
        for name in SECTIONS
    }
    alone = {name: getattr(running, name) for name in _TOP_LEVEL}
    return replace(read, **sections, **alone)


def _restart_values(settings: Settings) -> dict[str, Any]:
    """Return the restart-only values of all sections, by dotted key."""
    return {
        f"{name}.{key}": value
        for name in SECTIONS
        for key, value in _section_restart_values(getattr(settings, name), name).items()
    }


def _section_restart_values(section: Any, name: str) -> dict[str, Any]:
    keys = (key for key in section.__struct_fields__ if f"{name}.{key}" not in HOT_RELOADABLE)
    return {key: getattr(section, key) for key in keys}
