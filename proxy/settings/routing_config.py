"""Portkey's config object: its schema and its parser, which reports everything that is wrong.

The type is the same for a config from a header and for one from the operator's settings.
Source: https://portkey.ai/docs/api-reference/inference-api/config-object
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import orjson
from msgspec.structs import replace

from adapters.table.table import UnsupportedPolicy as Unsupported
from proxy.settings.checks import check_choice, check_range, check_statuses
from proxy.settings.conditions import Predicate, QueryError, QueryLimits, compile_query
from proxy.settings.policies import (
    POLICY_KEYS,
    BreakerPolicy,
    CachePolicy,
    Policy,
    RetryPolicy,
    StickyPolicy,
)
from proxy.settings.suggest import did_you_mean

MAX_TIMEOUT_MS = 3_600_000
MAX_KEEPALIVE_SECONDS = 600
"""Longer than proxies and clients wait."""
UNSUPPORTED_POLICIES = tuple(policy.value for policy in Unsupported)


class ConfigError(Exception):
    """A config is invalid: `path` is the position of the error (`targets[0].cache.mode`).

    `errors` are all errors of the config, this one first.
    """

    def __init__(self, path: str, message: str, others: Sequence[ConfigError] = ()) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message
        self.errors: tuple[ConfigError, ...] = (self, *others)

    @property
    def full_message(self) -> str:
        """The messages of all errors, one sentence each."""
        messages = map(str, self.errors)
        return " ".join(it if it.endswith((".", "?")) else f"{it}." for it in messages)


class ErrorCollector:
    """Collects errors, to raise them as one `ConfigError`."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []

    def add(self, path: str, message: str) -> None:
        """Add an error."""
        self.errors.append(ConfigError(path, message))

    @contextmanager
    def collect(self, prefix: str = "") -> Iterator[None]:
        """Add the `ConfigError` that the block raises, if any, with `prefix` before its paths."""
        try:
            yield
        except ConfigError as error:
            for each in error.errors:
                self.add(prefix + each.path if each.path else prefix.rstrip("."), each.message)

    def raise_errors(self) -> None:
        """Raise `ConfigError` with all errors, if there are any."""
        if self.errors:
            first, *others = self.errors
            raise ConfigError(first.path, first.message, others)


class Strategy(msgspec.Struct, frozen=True):
    """How a level selects one of its targets.

    `on_status_codes`: the statuses that cause a fallback; without it, all failures do.
    `on_refusal`: whether a provider's refusal of the prompt causes a fallback to the next provider,
    which may be more permissive. `complete`: if a target makes only some of the images, the next
    one makes the others. `conditions` are predicates, each with the number of its target; `default`
    is the number of the target if no condition holds.
    """

    mode: str = "single"
    on_status_codes: frozenset[int] | None = None
    on_refusal: bool = False
    complete: bool = False
    conditions: tuple[tuple[Predicate, int], ...] = ()
    default: int | None = None
    sticky: StickyPolicy | None = None

    __repr__ = object.__repr__


class _ConfigKeys(msgspec.Struct, frozen=True):
    """The keys of one level, with their types. Other keys are options of the provider."""

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
    retry: RetryPolicy | None = None
    cb_config: BreakerPolicy | None = None
    unsupported: str | None = None
    keepalive: int | None = None
    name: str | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        """Validate the values."""
        if self.weight is not None:
            check_range("weight", self.weight, 0, MAX_WEIGHT)
        if self.request_timeout is not None:
            check_range("request_timeout", self.request_timeout, 1, MAX_TIMEOUT_MS, " milliseconds")
        if self.keepalive is not None:
            check_range("keepalive", self.keepalive, 0, MAX_KEEPALIVE_SECONDS, " seconds")
        if len(self.drop_params) > MAX_DROP_PATHS:
            raise ValueError(f"`drop_params` must hold at most {MAX_DROP_PATHS} paths")
        if any(len(path) > MAX_PATH_LENGTH for path in self.drop_params):
            raise ValueError(
                f"`drop_params` must hold paths of at most {MAX_PATH_LENGTH} characters"
            )
        if self.unsupported is not None:
            check_choice("unsupported", self.unsupported, UNSUPPORTED_POLICIES)


class Config(msgspec.Struct, frozen=True):
    """One level of a config: a target, or a strategy over other levels.

    `options` are the provider's own, not yet validated. `config_path` is the position in the
    config, as sent in `x-portkey-last-used-option-index`. It has no repr because it holds secrets.
    """

    provider: str | None = None
    api_key: str | None = None
    virtual_key: str | None = None
    custom_host: str | None = None
    override_params: Mapping[str, Any] = {}
    default_params: Mapping[str, Any] = {}
    drop_params: tuple[str, ...] = ()
    request_timeout: float | None = None
    forward_headers: tuple[str, ...] = ()
    cache: CachePolicy | None = None
    retry: RetryPolicy | None = None
    cb_config: BreakerPolicy | None = None
    unsupported: str | None = None
    keepalive: int | None = None
    name: str | None = None
    weight: float | None = None
    options: Mapping[str, str] = {}
    config_path: str = "config"
    strategy: Strategy = Strategy()
    targets: tuple[Config, ...] = ()

    __repr__ = object.__repr__

    @property
    def leaves(self) -> tuple[Config, ...]:
        """The targets without targets below them, in order."""
        if not self.targets:
            return (self,)
        return tuple(leaf for target in self.targets for leaf in target.leaves)


CONFIG_KEYS = frozenset(_ConfigKeys.__struct_fields__)
"""Keys of one level, other than a provider's own options."""
IGNORED_KEYS = frozenset({"metadata", "strict_open_ai_compliance"})
"""Keys that are accepted and have no effect on images."""
NESTING_KEYS = frozenset({"strategy", "targets"})
"""Keys of a level with other levels below it."""
UNSUPPORTED_KEYS = frozenset(
    {
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
"""Portkey's keys that the gateway does not support: an error, not silently ignored."""
MERGED_KEYS = frozenset({"override_params", "default_params"})
"""Keys next to `targets` that are merged into each target's own; the target's values win."""
COUNTED_KEYS = ("override_params", "default_params", "forward_headers")
"""Keys whose items are handled for each target, also those that it inherits."""
INHERITED_KEYS = frozenset(
    {"cache", "retry", "cb_config", "request_timeout", "custom_host", "forward_headers"}
    | {"drop_params", "unsupported"}
)
"""Keys next to `targets` that a target inherits unless it has its own."""
GROUP_KEYS = INHERITED_KEYS | MERGED_KEYS | {"keepalive", "name", "weight"}
"""Keys that are allowed next to `targets`."""
MAX_TARGETS, MAX_DEPTH, MAX_KEYS, MAX_ERRORS = 100, 8, 100, 100
"""Targets of one level; levels; keys of one level; errors after which parsing stops."""
MAX_TOTAL_TARGETS = 1000
"""Total targets of a config: each is resolved for every request, whether it is used or not."""
MAX_TOTAL_PARAMS = 10_000
"""Total parameters and header names of all targets, with those that they inherit."""
MAX_WEIGHT = 1_000_000
MAX_DROP_PATHS, MAX_PATH_LENGTH = 100, 256
"""Paths in `drop_params` of one level, and the characters of each: they are parsed and walked for
each attempt.
"""
MODES = ("single", "loadbalance", "fallback", "conditional")


def parse_config(raw: Any) -> Config:
    """Parse a config object with all its levels; raises `ConfigError`.

    >>> parse_config({"provider": "openai", "api_key": "k"}).config_path
    'config'
    >>> parse_config({"provider": "openai", "cache": {"mode": "exact"}})
    Traceback (most recent call last):
    proxy.settings.routing_config.ConfigError: cache.mode: must be one of: simple, semantic
    """
    if not isinstance(raw, dict):
        raise ConfigError("", "a config must be a JSON object")
    errors = _ParseErrors()
    config = _parse_level(raw, Config(), "", 1, errors)
    errors.raise_errors()
    return config


class _ParseErrors(ErrorCollector):
    """The errors of one config, and the limits that its levels share."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = QueryLimits()
        self._targets = 0
        self._params = 0

    def count(self, targets: int) -> None:
        """Add to the number of targets of the config; raises `ConfigError` if it is too large."""
        self._targets += targets
        if self._targets > MAX_TOTAL_TARGETS:
            raise ConfigError("targets", f"must hold at most {MAX_TOTAL_TARGETS} targets in all")

    def count_params(self, level: dict[str, Any], outer: Config) -> None:
        """Add what a level merges with what it inherits; raises `ConfigError` if it is too much."""
        own = [level[key] for key in COUNTED_KEYS if isinstance(level.get(key), dict | list)]
        inherited = sum(len(getattr(outer, key)) for key in COUNTED_KEYS)
        self._params += sum(map(len, own)) + inherited
        if self._params > MAX_TOTAL_PARAMS:
            raise ConfigError(
                "targets",
                f"must hold at most {MAX_TOTAL_PARAMS} parameters and header names in all, "
                "with those that each target inherits",
            )


def _parse_level(
    raw: dict[str, Any], outer: Config, prefix: str, depth: int, errors: _ParseErrors
) -> Config:
    """Parse a level and those below it; `prefix` is its path, with a dot at the end."""
    level = outer
    if len(errors.errors) > MAX_ERRORS:
        return level
    if len(raw) > MAX_KEYS:
        errors.add(prefix.rstrip("."), f"must hold at most {MAX_KEYS} keys")
        return level
    with errors.collect(prefix):
        errors.count_params(raw, outer)
        level = _parse_keys({key: value for key, value in raw.items() if key not in NESTING_KEYS})
        level = replace(
            level, **_inherited(level, outer), config_path=f"config.{prefix}".rstrip(".")
        )
    if level.keepalive is not None and depth > 1:
        errors.add(
            f"{prefix}keepalive", "applies to the whole request: move it to the outermost level"
        )
    if not raw.keys() & NESTING_KEYS:
        return level
    for key, value in raw.items():
        if key in level.options or (value and key in CONFIG_KEYS - GROUP_KEYS):
            errors.add(prefix + key, "is not inherited by targets: move it into each target")
    below: list[Config] = []
    with errors.collect(prefix):
        targets = _raw_targets(raw, depth)
        errors.count(len(targets))
        below = [
            _parse_level(target, level, f"{prefix}targets[{i}].", depth + 1, errors)
            for i, target in enumerate(targets)
        ]
    strategy = Strategy()
    with errors.collect(f"{prefix}strategy."):
        mode = raw.get("strategy", {"mode": "single"})
        strategy, breaker = parse_strategy(mode, below, errors.limits)
        if breaker:
            below = [_with_circuit_breaker(target, breaker, level.cb_config) for target in below]
    return replace(level, strategy=strategy, targets=tuple(below))


def _inherited(level: Config, outer: Config) -> dict[str, Any]:
    """Return the values that a level inherits, merged with its own."""
    inherited = {name: getattr(level, name) or getattr(outer, name) for name in INHERITED_KEYS}
    merged = {name: _merge(getattr(outer, name), getattr(level, name)) for name in MERGED_KEYS}
    return {**inherited, **merged}


def _merge(outer: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return parameters merged with those of the level above: a copy only if both have some."""
    return {**outer, **own} if outer and own else own or outer


def _with_circuit_breaker(
    config: Config, breaker: BreakerPolicy, further: BreakerPolicy | None
) -> Config:
    """Return a level with the circuit breaker of the strategy above it.

    It replaces one that was inherited from `further` up; the level's own is kept.
    """
    targets = tuple(_with_circuit_breaker(target, breaker, further) for target in config.targets)
    own = config.cb_config is not further
    return replace(config, cb_config=config.cb_config if own else breaker, targets=targets)


def _raw_targets(raw: dict[str, Any], depth: int) -> list[dict[str, Any]]:
    targets = raw.get("targets")
    if not isinstance(targets, list) or not targets:
        raise ConfigError("targets", "must be a list with at least one config object")
    if len(targets) > MAX_TARGETS:
        raise ConfigError("targets", f"must hold at most {MAX_TARGETS} targets")
    if depth >= MAX_DEPTH:
        raise ConfigError("targets", f"must not be nested more than {MAX_DEPTH} levels deep")
    for i, target in enumerate(targets):
        if not isinstance(target, dict):
            raise ConfigError(f"targets[{i}]", "must be a config object")
    return targets


class _StrategyKeys(Policy, frozen=True):
    """The keys of `strategy`, with their types."""

    mode: str
    on_status_codes: frozenset[int] | None = None
    on_refusal: str = "stop"
    complete: bool = False
    conditions: list[dict[str, Any]] | None = None
    default: str | None = None
    sticky: StickyPolicy | None = None
    sticky_session: StickyPolicy | None = None
    cb_config: BreakerPolicy | None = None

    def __post_init__(self) -> None:
        """Validate the values."""
        check_choice("mode", self.mode, MODES)
        check_choice("on_refusal", self.on_refusal, ("stop", "next"))
        check_statuses("on_status_codes", self.on_status_codes)
        if self.complete and self.mode != "fallback":
            raise ValueError("`complete` needs the mode fallback")


STRATEGY_KEYS = frozenset(_StrategyKeys.__struct_fields__)
"""The keys of `strategy`."""


def parse_strategy(
    raw: Any, below: list[Config], limits: QueryLimits
) -> tuple[Strategy, BreakerPolicy | None]:
    """Parse a strategy over the targets below it; raises `ConfigError`."""
    try:
        body = msgspec.convert(raw, _StrategyKeys, strict=False)
    except msgspec.ValidationError as error:
        place, message = describe_validation_error(error)
        raise ConfigError(place, message) from None
    if body.mode == "loadbalance" and below and not any(map(weight_of, below)):
        raise ConfigError("mode", "needs a target whose weight is not 0")
    names = {target.name: i for i, target in reversed([*enumerate(below)]) if target.name}
    conditions: tuple[tuple[Predicate, int], ...] = ()
    default = None
    if body.mode == "conditional":
        if not body.conditions:
            raise ConfigError("conditions", "must be a list with at least one condition")
        conditions = tuple(
            _parse_condition(it, i, names, limits) for i, it in enumerate(body.conditions)
        )
        default = None if body.default is None else _target_number(body.default, "default", names)
    strategy = Strategy(
        mode=body.mode,
        on_status_codes=body.on_status_codes,
        on_refusal=body.on_refusal == "next",
        complete=body.complete,
        conditions=conditions,
        default=default,
        sticky=body.sticky or body.sticky_session,
    )
    return strategy, None if body.mode == "conditional" else body.cb_config


def weight_of(config: Config) -> float:
    """Return a target's share of a load balancer's requests, 1 by default."""
    return 1.0 if config.weight is None else config.weight


def _parse_condition(
    raw: dict[str, Any], i: int, names: Mapping[str, int], limits: QueryLimits
) -> tuple[Predicate, int]:
    path = f"conditions[{i}]"
    for key in raw.keys() - {"query", "then"}:
        raise ConfigError(
            f"{path}.{key}", "is not a key of a condition" + did_you_mean(key, {"query", "then"})
        )
    try:
        test = compile_query(raw.get("query"), f"{path}.query", limits)
    except QueryError as error:
        raise ConfigError(error.path, error.message) from None
    return test, _target_number(raw.get("then"), f"{path}.then", names)


def _target_number(name: Any, path: str, names: Mapping[str, int]) -> int:
    if isinstance(name, str) and name in names:
        return names[name]
    hint = did_you_mean(name, frozenset(names)) if isinstance(name, str) else ""
    raise ConfigError(path, f"must be the name of a target of this level{hint}")


def _parse_keys(raw: dict[str, Any]) -> Config:
    """Parse the keys of one level."""
    known: dict[str, Any] = {}
    options: dict[str, str] = {}
    errors = ErrorCollector()
    for key, value in raw.items():
        if key in UNSUPPORTED_KEYS:
            errors.add(key, "is not supported")
        elif value is None or key in IGNORED_KEYS:
            continue
        elif key in CONFIG_KEYS:
            with errors.collect():
                known[key] = _convert_value(key, value)
        elif isinstance(value, str):
            options[key] = value
        elif isinstance(value, dict) and key.endswith("_json"):
            # An option that contains a JSON file may be given as an object.
            options[key] = orjson.dumps(value).decode()
        else:
            errors.add(
                key, "is not a key of a config" + did_you_mean(key, CONFIG_KEYS | NESTING_KEYS)
            )
    errors.raise_errors()
    if timeout := known.get("request_timeout"):
        known["request_timeout"] = timeout / 1000
    return Config(**known, options=options)


def _convert_value(key: str, value: Any) -> Any:
    try:
        body = msgspec.convert({key: value}, _ConfigKeys, strict=False)
    except msgspec.ValidationError as error:
        place, message = describe_validation_error(error)
        raise ConfigError(place or key, message) from None
    return getattr(body, key)


_TYPE_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
}


def describe_validation_error(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return the path (`cache.max_age`) and the message for an error of msgspec.

    The message never contains the value, which may be a secret.
    """
    text, _, place = str(error).partition(" - at `$")
    place = place.rstrip("`").removeprefix(".")
    if expected := re.match(r"Expected `(\w+)", text):
        return place, f"must be {_TYPE_NAMES.get(expected[1], expected[1])}"
    if missing := re.match(r"Object missing required field `(\w+)`", text):
        return place, f"needs '{missing[1]}'"
    if unknown := re.match(r"Object contains unknown field `(.*)`", text):
        hint = did_you_mean(unknown[1], POLICY_KEYS | STRATEGY_KEYS)
        return f"{place}.{unknown[1]}".removeprefix("."), "is not a known key" + hint
    if ours := re.match(r"`(\w+)` (.+)", text):
        return f"{place}.{ours[1]}".removeprefix("."), ours[2]
    return place, text
