"""How a client asks: once, with retries, with a fallback, twice at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]

_ALWAYS = 1_000_000
_STATUSES = [408, 429, 500, 502, 503, 504]


@dataclass(frozen=True)
class Mode:
    """Writes the config from a target's and that of a good one; `faults`: how often it errs."""

    name: str
    config: Callable[[Config, Config], Config]
    asked: int = 1
    faults: int = _ALWAYS
    paid: int = 1
    """How many calls it may cost at most."""
    pause: float = 0.0
    """Seconds that the provider takes for a paid one, so that others can come meanwhile."""


def _alone(target: Config, good: Config) -> Config:
    del good
    return target


def _retried(target: Config, good: Config) -> Config:
    del good
    return {**target, "retry": {"attempts": 1, "on_status_codes": _STATUSES}}


def _falling(target: Config, good: Config) -> Config:
    return {"strategy": {"mode": "fallback"}, "targets": [target, good]}


def _joined(target: Config, good: Config) -> Config:
    del good
    return {**target, "cache": {"coalesce": True}}


MODES = (
    Mode("alone", _alone),
    Mode("retry", _retried, faults=1, paid=2),
    Mode("fallback", _falling),
    Mode("joined", _joined, asked=2, pause=0.6),
)
