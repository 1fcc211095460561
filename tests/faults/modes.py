"""Request modes: single, with a retry, with a fallback, two coalesced requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]

_ALWAYS = 1_000_000
_STATUSES = [408, 429, 500, 502, 503, 504]


@dataclass(frozen=True)
class Mode:
    """Makes the config from a faulty and a good target. The faulty one fails `failures` times."""

    name: str
    config: Callable[[Config, Config], Config]
    requests: int = 1
    failures: int = _ALWAYS
    max_paid_calls: int = 1
    """Maximum number of paid calls."""
    delay: float = 0.0
    """Seconds before the provider answers, so that the second request arrives meanwhile."""


def _single(target: Config, good: Config) -> Config:
    del good
    return target


def _with_retry(target: Config, good: Config) -> Config:
    del good
    return {**target, "retry": {"attempts": 1, "on_status_codes": _STATUSES}}


def _with_fallback(target: Config, good: Config) -> Config:
    return {"strategy": {"mode": "fallback"}, "targets": [target, good]}


def _coalesced(target: Config, good: Config) -> Config:
    del good
    return {**target, "cache": {"coalesce": True}}


MODES = (
    Mode("single", _single),
    Mode("retry", _with_retry, failures=1, max_paid_calls=2),
    Mode("fallback", _with_fallback),
    Mode("coalesced", _coalesced, requests=2, delay=0.6),
)
