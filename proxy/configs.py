"""Portkey's config object: what it may hold, checked whole before anything is sent.

The same type whether it comes from a header or from the operator's settings.
Source: https://portkey.ai/docs/api-reference/inference-api/config-object
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

MIN_AGE, MAX_AGE, DEFAULT_AGE = 60, 7_776_000, 604_800
"""Seconds that an answer may be kept: least, most (90 days), and when not said (7 days)."""

MAX_TIMEOUT_MS = 3_600_000


class ConfigError(Exception):
    """A config cannot be used: `path` says where (`targets[0].cache.mode`)."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class CachePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cache`: keep answers for `max_age` seconds. For pictures `semantic` means `simple`."""

    mode: str
    max_age: int = DEFAULT_AGE

    def __post_init__(self) -> None:
        """Hold the values against the documentation."""
        if self.mode not in ("simple", "semantic"):
            raise ValueError("`mode` must be one of: simple, semantic")
        if not MIN_AGE <= self.max_age <= MAX_AGE:
            raise ValueError(f"`max_age` must be {MIN_AGE} to {MAX_AGE} seconds")


class _Body(msgspec.Struct, frozen=True):
    """The keys of one level whose types we fix; a provider's own options stand beside them."""

    provider: str | None = None
    api_key: str | None = None
    virtual_key: str | None = None
    custom_host: str | None = None
    override_params: dict[str, Any] = {}
    default_params: dict[str, Any] = {}
    drop_params: tuple[str, ...] = ()
    request_timeout: int | None = None
    forward_headers: tuple[str, ...] = ()
    cache: CachePolicy | None = None

    def __post_init__(self) -> None:
        """Hold the values against the documentation."""
        if self.request_timeout is not None and not 1 <= self.request_timeout <= MAX_TIMEOUT_MS:
            raise ValueError(f"`request_timeout` must be 1 to {MAX_TIMEOUT_MS} milliseconds")


@dataclass(frozen=True, slots=True, repr=False)
class Config:
    """One target of a config. `options` are the provider's own, not yet held against it.

    `index` is its place in the config, as `x-portkey-last-used-option-index` names it.
    It has no repr: it holds secrets.
    """

    provider: str | None = None
    api_key: str | None = None
    virtual_key: str | None = None
    custom_host: str | None = None
    override_params: Mapping[str, Any] = field(default_factory=dict)
    default_params: Mapping[str, Any] = field(default_factory=dict)
    drop_params: tuple[str, ...] = ()
    request_timeout: float | None = None
    forward_headers: tuple[str, ...] = ()
    cache: CachePolicy | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    index: str = "config"


_KNOWN = frozenset(field.name for field in msgspec.structs.fields(_Body))
_NOTED = frozenset({"name", "weight", "metadata", "strict_open_ai_compliance"})
"""Keys without an effect on a single picture target, accepted."""
_ONLY_TREE = frozenset({"strategy", "targets"})
_LATER = frozenset(
    {
        "retry",
        "cb_config",
        "input_guardrails",
        "output_guardrails",
        "before_request_hooks",
        "after_request_hooks",
        "input_mutators",
        "output_mutators",
        "prompt_id",
        "passthrough",
    }
)
"""Keys of Portkey's that this gateway does not honour: refused, not silently passed over."""
_INHERITED = ("cache", "request_timeout", "custom_host", "forward_headers")


def parse(raw: Any) -> Config:
    """Check a config object and give its one target; raises `ConfigError`.

    >>> parse({"provider": "openai", "api_key": "k"}).index
    'config'
    >>> parse({"provider": "openai", "cache": {"mode": "exact"}})
    Traceback (most recent call last):
    proxy.configs.ConfigError: cache: `mode` must be one of: simple, semantic
    """
    if not isinstance(raw, dict):
        raise ConfigError("", "a config must be a JSON object")
    if not raw.keys() & _ONLY_TREE:
        return _level(raw, "", "config")
    return _single(raw)


def _single(raw: dict[str, Any]) -> Config:
    """Read a config whose strategy has a single target."""
    targets = raw.get("targets")
    strategy = raw.get("strategy", {"mode": "single"})
    mode = strategy.get("mode") if isinstance(strategy, dict) else None
    if mode not in ("single", "loadbalance", "fallback", "conditional"):
        message = "must be one of: single, loadbalance, fallback, conditional"
        raise ConfigError("strategy.mode", message)
    if not isinstance(targets, list) or not targets or not isinstance(targets[0], dict):
        raise ConfigError("targets", "must be a list with at least one config object")
    if len(targets) > 1 or mode == "conditional":
        raise ConfigError("targets", f"the strategy {mode!r} is not supported yet, one target is")
    outer = {key: value for key, value in raw.items() if key not in _ONLY_TREE}
    _level(outer, "", "config")
    inherited = {key: outer[key] for key in _INHERITED if outer.get(key)}
    merged = {**inherited, **targets[0]}
    if overrides := outer.get("override_params"):
        merged["override_params"] = {**overrides, **(targets[0].get("override_params") or {})}
    return _level(merged, "targets[0].", "config.targets[0]")


def _level(raw: dict[str, Any], prefix: str, index: str) -> Config:
    """Check the keys of one level."""
    known: dict[str, Any] = {}
    options: dict[str, str] = {}
    for key, value in raw.items():
        if key in _LATER or key in _ONLY_TREE:
            raise ConfigError(prefix + key, "is not supported here")
        if value is None or key in _NOTED:
            continue
        if key in _KNOWN:
            known[key] = value
        elif isinstance(value, str):
            options[key] = value
        else:
            raise ConfigError(prefix + key, _unknown(key))
    body = _typed(known, prefix)
    fields = {name: getattr(body, name) for name in _KNOWN}
    if body.request_timeout is not None:
        fields["request_timeout"] = body.request_timeout / 1000
    return Config(**fields, options=options, index=index)


def _typed(known: dict[str, Any], prefix: str) -> _Body:
    try:
        return msgspec.convert(known, _Body, strict=False)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        path = place.rstrip("`").removeprefix(".")
        raise ConfigError((prefix + path).rstrip("."), message[:1].lower() + message[1:]) from None


def _unknown(key: str) -> str:
    return "is not a key of a config" + nearest(key, _KNOWN | _ONLY_TREE)


def nearest(name: str, known: frozenset[str] | set[str]) -> str:
    """Give a hint at the nearest known name, "" when none is near.

    >>> nearest("virtual_keey", {"virtual_key", "cache"})
    '; did you mean virtual_key?'
    """
    clean = re.sub(r"[^A-Za-z0-9_.@-]", "?", name)[:64]
    found = difflib.get_close_matches(clean, sorted(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""
