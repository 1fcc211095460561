"""Portkey's config object: what it may hold, checked whole before anything is sent.

The same type whether it comes from a header or from the operator's settings.
Source: https://portkey.ai/docs/api-reference/inference-api/config-object
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

MIN_AGE, MAX_AGE, DEFAULT_AGE = 60, 7_776_000, 604_800
"""Seconds that an answer may be kept: least, most (90 days), and when not said (7 days)."""

MAX_TIMEOUT_MS = 3_600_000


class ConfigError(Exception):
    """A config cannot be used: `path` says where (`targets[0].cache.mode`).

    `all` is everything that is wrong with it, this error first.
    """

    def __init__(self, path: str, message: str, others: Sequence[ConfigError] = ()) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message
        self.all: tuple[ConfigError, ...] = (self, *others)

    @property
    def sentences(self) -> str:
        """Everything that is wrong, a sentence each."""
        told = map(str, self.all)
        return " ".join(one if one.endswith((".", "?")) else f"{one}." for one in told)


class Faults:
    """Gathers what is wrong, to be raised as one `ConfigError`."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []

    def add(self, path: str, message: str) -> None:
        """Note something that is wrong."""
        self.errors.append(ConfigError(path, message))

    @contextmanager
    def noted(self, prefix: str = "") -> Iterator[None]:
        """Note what the block raises, below `prefix`."""
        try:
            yield
        except ConfigError as error:
            for one in error.all:
                self.add(prefix + one.path, one.message)

    def raise_any(self) -> None:
        """Raise if anything was wrong."""
        if self.errors:
            first, *others = self.errors
            raise ConfigError(first.path, first.message, others)


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


KEYS = frozenset(field.name for field in msgspec.structs.fields(_Body))
"""Keys of one level, beside a provider's own options."""
NOTED = frozenset({"name", "weight", "metadata", "strict_open_ai_compliance"})
"""Keys without an effect on a single picture target, accepted."""
TREE = frozenset({"strategy", "targets"})
"""Keys of a level that has others below it."""
LATER = frozenset(
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
_INHERITED = frozenset({"cache", "request_timeout", "custom_host", "forward_headers"})
SHARED = _INHERITED | {"override_params"}
"""Keys beside `targets` that a target takes over."""


def parse(raw: Any) -> Config:
    """Check a config object and give its one target; raises `ConfigError`.

    >>> parse({"provider": "openai", "api_key": "k"}).index
    'config'
    >>> parse({"provider": "openai", "cache": {"mode": "exact"}})
    Traceback (most recent call last):
    proxy.configs.ConfigError: cache.mode: must be one of: simple, semantic
    """
    if not isinstance(raw, dict):
        raise ConfigError("", "a config must be a JSON object")
    if not raw.keys() & TREE:
        return _level(raw)
    return _single(raw)


def _single(raw: dict[str, Any]) -> Config:
    """Read a config whose strategy has a single target."""
    targets = raw.get("targets")
    outer = inner = Config()
    faults = Faults()
    with faults.noted():
        _check_strategy(raw.get("strategy", {"mode": "single"}), targets)
    with faults.noted():
        outer = _level({key: value for key, value in raw.items() if key not in TREE})
    for key, value in raw.items():
        if key in outer.options or (value and key in KEYS - SHARED):
            faults.add(key, "is not taken over by a target: put it into the target")
    first = targets[0] if isinstance(targets, list) and targets else {}
    with faults.noted("targets[0]."):
        inner = _level(first if isinstance(first, dict) else {})
    faults.raise_any()
    inherited = {name: getattr(inner, name) or getattr(outer, name) for name in _INHERITED}
    overrides = {**outer.override_params, **inner.override_params}
    return replace(inner, **inherited, override_params=overrides, index="config.targets[0]")


def _check_strategy(strategy: Any, targets: Any) -> None:
    mode = strategy.get("mode") if isinstance(strategy, dict) else None
    if mode not in ("single", "loadbalance", "fallback", "conditional"):
        message = "must be one of: single, loadbalance, fallback, conditional"
        raise ConfigError("strategy.mode", message)
    if not isinstance(targets, list) or not targets or not isinstance(targets[0], dict):
        raise ConfigError("targets", "must be a list with at least one config object")
    if mode == "conditional":
        raise ConfigError("strategy.mode", "conditional is not supported yet")
    if len(targets) > 1:
        raise ConfigError("targets", "several targets are not supported yet: give one")


def _level(raw: dict[str, Any]) -> Config:
    """Check the keys of one level."""
    known: dict[str, Any] = {}
    options: dict[str, str] = {}
    faults = Faults()
    for key, value in raw.items():
        if key in LATER or key in TREE:
            faults.add(key, "is not supported here")
        elif value is None or key in NOTED:
            continue
        elif key in KEYS:
            with faults.noted():
                known[key] = _typed(key, value)
        elif isinstance(value, str):
            options[key] = value
        else:
            faults.add(key, "is not a key of a config" + nearest(key, KEYS | TREE))
    faults.raise_any()
    if timeout := known.get("request_timeout"):
        known["request_timeout"] = timeout / 1000
    return Config(**known, options=options)


def _typed(key: str, value: Any) -> Any:
    try:
        body = msgspec.convert({key: value}, _Body, strict=False)
    except msgspec.ValidationError as error:
        place, message = explained(error)
        raise ConfigError(place or key, message) from None
    return getattr(body, key)


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
}


def explained(error: msgspec.ValidationError) -> tuple[str, str]:
    """Give the place (`cache.max_age`) and a sentence for what msgspec found.

    A value is never shown: it may be a secret.
    """
    said, _, place = str(error).partition(" - at `$")
    place = place.rstrip("`").removeprefix(".")
    if expected := re.match(r"Expected `(\w+)", said):
        return place, f"must be {_KINDS.get(expected[1], expected[1])}"
    if missing := re.match(r"Object missing required field `(\w+)`", said):
        return place, f"needs '{missing[1]}'"
    if unknown := re.match(r"Object contains unknown field `(.*)`", said):
        hint = nearest(unknown[1], frozenset(CachePolicy.__struct_fields__))
        return f"{place}.{unknown[1]}", "is not known here" + hint
    if ours := re.match(r"`(\w+)` (.+)", said):
        return f"{place}.{ours[1]}".removeprefix("."), ours[2]
    return place, said


def nearest(name: str, known: frozenset[str] | set[str]) -> str:
    """Give a hint at the nearest known name, "" when none is near.

    >>> nearest("virtual_keey", {"virtual_key", "cache"})
    '; did you mean virtual_key?'
    """
    spelled = {word.lower(): word for word in sorted(known)}
    found = difflib.get_close_matches(name.lower()[:64], spelled, n=1)
    return f"; did you mean {spelled[found[0]]}?" if found else ""
