"""Which settings hold from the next request on when they are reloaded, and which wait.

The law: what waits for a restart is in force nowhere. Until then it stays what it was, for every
reader.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import structs

from proxy.settings.loader import TOP_LEVEL_KEYS, Settings
from proxy.settings.schema import SECTIONS

HOT_RELOADABLE = frozenset(
    {
        *("api_keys", "virtual_keys", "configs", "trusted_custom_hosts", "prices"),
        *("server.public_url", "server.allowed_hosts", "server.trusted_proxies"),
        *("limits.prompt_characters", "limits.pictures", "limits.attempts"),
        *("limits.reply_bytes", "limits.picture_bytes", "timeouts.total"),
        *("images.unsupported", "images.incomplete", "images.comment_seconds"),
        *("jobs.wait_seconds", "blobs.persist_urls", "log.prompts", "metrics.access"),
    }
)
"""What a request reads of the settings that it began with. Everything else is read at the start."""

_TOP_LEVEL = sorted(TOP_LEVEL_KEYS - SECTIONS.keys() - HOT_RELOADABLE)
"""Keys of the top that wait, and are no sections."""


def restart_required(began: Settings, read: Settings) -> tuple[str, ...]:
    """Name what a file says otherwise than that which the process began with, and that waits."""
    there = {**_restart_values(began), **{name: getattr(began, name) for name in _TOP_LEVEL}}
    now = {**_restart_values(read), **{name: getattr(read, name) for name in _TOP_LEVEL}}
    return tuple(name for name, value in now.items() if there[name] != value)


def apply_hot(running: Settings, read: Settings) -> Settings:
    """Give what was read, but what waits as it is now."""
    sections = {
        name: structs.replace(
            getattr(read, name), **_section_restart_values(getattr(running, name), name)
        )
        for name in SECTIONS
    }
    alone = {name: getattr(running, name) for name in _TOP_LEVEL}
    return replace(read, **sections, **alone)


def _restart_values(settings: Settings) -> dict[str, Any]:
    """Give what waits of all sections, by dotted key."""
    return {
        f"{name}.{key}": value
        for name in SECTIONS
        for key, value in _section_restart_values(getattr(settings, name), name).items()
    }


def _section_restart_values(section: Any, name: str) -> dict[str, Any]:
    keys = (key for key in section.__struct_fields__ if f"{name}.{key}" not in HOT_RELOADABLE)
    return {key: getattr(section, key) for key in keys}
