"""Policies for caching, retries, circuit breaker and sticky sessions: the documented ranges."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.settings import policies
from proxy.settings.checks import check_statuses
from proxy.settings.policies import (
    BreakerPolicy,
    CachePolicy,
    RetryPolicy,
    StickyPolicy,
)


def read(kind: Any, raw: dict[str, Any]) -> Any:
    """Read a policy as a config does."""
    return msgspec.convert(raw, kind, strict=False)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (CachePolicy, {"mode": "simple"}),
        (CachePolicy, {"mode": "semantic", "max_age": 60}),
        (CachePolicy, {"mode": "simple", "max_age": 7_776_000}),
        (CachePolicy, {"mode": "simple", "pool": True, "shared": True, "coalesce": True}),
        (CachePolicy, {"coalesce": True}),
        (RetryPolicy, {"attempts": 0}),
        (RetryPolicy, {"attempts": 5, "on_status_codes": [100, 599]}),
        (BreakerPolicy, {"failure_threshold": 1}),
        (BreakerPolicy, {"failure_threshold_percentage": 0}),
        (BreakerPolicy, {"failure_threshold_percentage": 100, "minimum_requests": 1}),
        (BreakerPolicy, {"failure_threshold": 1, "cooldown_interval": 30_000}),
        (StickyPolicy, {"hash_fields": ["metadata.user"]}),
        (StickyPolicy, {"hash_fields": ["params.user", "url.pathname"], "ttl": 2_592_000}),
        (StickyPolicy, {"hash_fields": ["metadata.user"] * 16, "enabled": False}),
    ],
)
def test_what_is_documented_is_accepted(kind: Any, raw: dict[str, Any]) -> None:
    assert isinstance(read(kind, raw), kind)


@pytest.mark.parametrize(
    ("kind", "raw", "key"),
    [
        (CachePolicy, {}, "mode"),
        (CachePolicy, {"mode": "exact"}, "mode"),
        (CachePolicy, {"mode": "exact", "coalesce": True}, "mode"),
        (CachePolicy, {"mode": "simple", "max_age": 59}, "max_age"),
        (CachePolicy, {"mode": "simple", "max_age": 7_776_001}, "max_age"),
        (RetryPolicy, {}, "attempts"),
        (RetryPolicy, {"attempts": -1}, "attempts"),
        (RetryPolicy, {"attempts": 6}, "attempts"),
        (RetryPolicy, {"attempts": 1, "on_status_codes": [99]}, "on_status_codes"),
        (RetryPolicy, {"attempts": 1, "on_status_codes": [600]}, "on_status_codes"),
        (BreakerPolicy, {}, "failure_threshold"),
        (BreakerPolicy, {"failure_threshold": 0}, "failure_threshold"),
        (BreakerPolicy, {"failure_threshold_percentage": -1}, "failure_threshold_percentage"),
        (BreakerPolicy, {"failure_threshold_percentage": 101}, "failure_threshold_percentage"),
        (BreakerPolicy, {"failure_threshold_percentage": "nan"}, "failure_threshold_percentage"),
        (BreakerPolicy, {"failure_threshold": 1, "cooldown_interval": 29_999}, "cooldown_interval"),
        (BreakerPolicy, {"failure_threshold": 1, "minimum_requests": 0}, "minimum_requests"),
        (BreakerPolicy, {"failure_threshold": 1, "failure_status_codes": [1]}, "failure_status_co"),
        (StickyPolicy, {}, "hash_fields"),
        (StickyPolicy, {"hash_fields": []}, "hash_fields"),
        (StickyPolicy, {"hash_fields": ["user"]}, "hash_fields"),
        (StickyPolicy, {"hash_fields": ["metadata."]}, "hash_fields"),
        (StickyPolicy, {"hash_fields": ["metadata.a.b"]}, "hash_fields"),
        (StickyPolicy, {"hash_fields": ["metadata.user"] * 17}, "hash_fields"),
        (StickyPolicy, {"hash_fields": ["metadata.user"], "ttl": 0}, "ttl"),
        (StickyPolicy, {"hash_fields": ["metadata.user"], "ttl": 2_592_001}, "ttl"),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_key(kind: Any, raw: Any, key: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=key):
        read(kind, raw)


def test_the_documented_statuses_are_repeated_where_none_are_named() -> None:
    assert RetryPolicy(attempts=1).statuses == {429, 500, 502, 503, 504, 529}
    assert RetryPolicy(attempts=1, on_status_codes=frozenset({418})).statuses == {418}
    assert RetryPolicy(attempts=1, on_status_codes=frozenset()).statuses == set()


@pytest.mark.parametrize("name", ["use_retry_after_header", "use_retry_after_headers"])
def test_retry_after_is_heeded_in_both_spellings(name: str) -> None:
    assert read(RetryPolicy, {"attempts": 1, name: True}).honors_retry_after
    assert not read(RetryPolicy, {"attempts": 1, name: False}).honors_retry_after


@pytest.mark.parametrize(("status", "fails"), [(200, 0), (429, 0), (500, 0), (501, 1), (599, 1)])
def test_a_failure_is_any_status_above_500_unless_named(status: int, fails: int) -> None:
    assert BreakerPolicy(failure_threshold=1).is_failure(status) == fails
    named = BreakerPolicy(failure_threshold=1, failure_status_codes=frozenset({429}))
    assert named.is_failure(status) is (status == 429)


def test_no_statuses_are_good_statuses() -> None:
    check_statuses("on_status_codes", None)
    check_statuses("on_status_codes", frozenset())


def test_the_keys_of_all_policies_are_known() -> None:
    assert {"mode", "attempts", "cooldown_interval", "hash_fields"} <= policies.POLICY_KEYS
