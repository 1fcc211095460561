"""Which settings hold from the next request on when they are reloaded, and which wait.

The law: what waits for a restart is in force nowhere. Until then it stays what it was, for every
reader.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import structs

from proxy.settings.loader import KEYS, Settings
from proxy.settings.schema import SECTIONS

AT_ONCE = frozenset(
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

_ALONE = sorted(KEYS - SECTIONS.keys() - AT_ONCE)
"""Keys of the top that wait, and are no sections."""


def waiting(began: Settings, read: Settings) -> tuple[str, ...]:
    """Name what a file says otherwise than that which the process began with, and that waits."""
    there = {**_values(began), **{name: getattr(began, name) for name in _ALONE}}
    now = {**_values(read), **{name: getattr(read, name) for name in _ALONE}}
    return tuple(name for name, value in now.items() if there[name] != value)


def at_once(running: Settings, read: Settings) -> Settings:
    """Give what was read, but what waits as it is now."""
    sections = {
        name: structs.replace(getattr(read, name), **_waiting_of(getattr(running, name), name))
        for name in SECTIONS
    }
    alone = {name: getattr(running, name) for name in _ALONE}
    return replace(read, **sections, **alone)


def _values(settings: Settings) -> dict[str, Any]:
    """Give what waits of all sections, by dotted key."""
    return {
        f"{name}.{key}": value
        for name in SECTIONS
        for key, value in _waiting_of(getattr(settings, name), name).items()
    }


def _waiting_of(section: Any, name: str) -> dict[str, Any]:
    keys = (key for key in section.__struct_fields__ if f"{name}.{key}" not in AT_ONCE)
    return {key: getattr(section, key) for key in keys}
