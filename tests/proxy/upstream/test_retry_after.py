"""When to ask again, however the provider says it, becomes `retry-after` in whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import ProviderError
from adapters.http import ProviderReply
from adapters.tools.retry_delay import find_retry_delay, parse_duration
from proxy.upstream.retry_after import add_retry_after
from tests.support.gateway import always, gateway_to

UP = {"virtual_key": "up"}
NOW = datetime(2026, 11, 29, 22, tzinfo=UTC).timestamp()
INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
BODIES: tuple[tuple[Any, str], ...] = (
    ({"error": {"code": 429, "details": [{"reason": "QUOTA"}, INFO]}}, "35"),
    ([{"error": {"code": 429, "details": [INFO]}}], "35"),
    ({"error": {"details": [{"retryDelay": {"seconds": 7}}]}}, "7"),
    ({"error": "rate_limit_exceeded", "message": "slow down", "retry_after": 5}, "5"),
    ({"error": {"message": "no", "metadata": {"retry_after_seconds": 2.2}}}, "3"),
    ({"retryAfter": "1m30s"}, "90"),
    ({"error": {"retry_after_ms": 1500}}, "2"),
    ({"error": {"retry_after_ms": "1500"}}, "2"),
    ({"retry_after": 0}, "1"),
    ({"detail": "Request was throttled. Your rate limit resets in ~30s."}, "30"),
    ({"error": {"message": "Rate limit reached. Please try again in 6m0s."}}, "360"),
    ({"error": {"message": "Please try again in 20ms."}}, "1"),
    ({"message": "Please retry in 34.074824224s."}, "35"),
)
HEADERS: tuple[tuple[dict[str, str], str], ...] = (
    ({"retry-after-ms": "1500"}, "2"),
    ({"x-ms-retry-after-ms": "900"}, "1"),
    ({"ratelimit-reset": "12"}, "12"),
    ({"x-ratelimit-reset": str(NOW + 40)}, "40"),
    ({"x-ratelimit-reset": str(int((NOW + 40.5) * 1000))}, "41"),
    ({"x-rate-limit-reset-at-utc": "2026-11-30T00:01:00"}, "7260"),
    ({"x-rate-limit-reset-at-utc": "2026-11-30T00:01:00Z"}, "7260"),
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, "360"),
    ({"retry-after": "9", "retry-after-ms": "1500"}, "9"),
)
NOTHING: tuple[tuple[dict[str, str], Any], ...] = (
    ({}, {"error": {"message": "too many requests"}}),
    ({}, {"retry_after": -1}),
    ({}, {"retry_after": 1e12}),
    ({}, {"retry_after": True}),
    ({}, {"retry_after": "soon"}),
    ({}, {"message": "retry 3 images in 2 steps"}),
    ({"retry-after-ms": "soon", "x-ratelimit-reset": "nan"}, None),
    ({"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "6m0s"}, None),
    ({"x-rate-limit-reset-at-utc": "2126-11-30"}, None),
)


def made(headers: dict[str, str], tree: Any) -> str | None:
    error = ProviderError("no", status=429)
    error.headers = dict(headers)
    add_retry_after(error, ProviderReply(429, headers, orjson.dumps(tree)), NOW)
    return error.headers.get("retry-after")


def test_a_delay_in_the_error_or_in_a_header_becomes_retry_after() -> None:
    for tree, seconds in BODIES:
        assert made({}, tree) == seconds, tree
    for headers, seconds in HEADERS:
        assert made(headers, {"error": {"message": "no"}}) == seconds, headers


def test_what_is_no_delay_adds_none() -> None:
    for headers, tree in NOTHING:
        assert made(headers, tree) is None, (headers, tree)


@pytest.mark.parametrize(("status", "expected"), [(429, "35"), (503, "35"), (400, None)])
async def test_the_client_is_told_when_the_error_passes(status: int, expected: str | None) -> None:
    body = {"error": {"message": "no", "type": "t", "details": [INFO]}}
    async with gateway_to(always(body, status)) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.headers.get("retry-after")) == (status, expected)


def test_the_search_is_bounded() -> None:
    assert find_retry_delay({"a": [{}] * 10_000, "b": [{"retry_after": 5}]}) is None
    assert find_retry_delay({"message": "again in " * 100_000}) is None
    many = {f"member{number}": number for number in range(1000)}
    assert find_retry_delay({**many, "retry_after": 5}) is None


@given(st.text(max_size=40))
def test_no_duration_raises(text: str) -> None:
    seconds = parse_duration(text)
    assert seconds is None or seconds >= 0
