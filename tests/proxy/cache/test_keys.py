"""What changes a cache key, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from adapters import get_adapter
from adapters.contract import Credentials
from adapters.table.table import UnsupportedPolicy
from proxy.cache.keys import cache_key, pool_size, raw_request_digest
from proxy.routing.plan import Plan, Target
from proxy.settings.policies import CachePolicy

TARGET = Target(
    get_adapter("openai"),
    Credentials("key"),
    "https://api.openai.com/v1",
    cache=CachePolicy("simple"),
)
SHARED = replace(TARGET, cache=CachePolicy("simple", shared=True))
POOLED = replace(TARGET, cache=CachePolicy("simple", pool=True))
PLAN = Plan(TARGET, {})
PATH = "/images/generations"
BASE: dict[str, Any] = {
    "caller": "a",
    "plan": PLAN,
    "target": TARGET,
    "params": {"prompt": "p", "n": 1},
    "path": PATH,
}


@pytest.mark.parametrize(
    "change",
    [
        {"caller": "b"},
        {"path": "/images/edits"},
        {"params": {"prompt": "p", "n": 2}},
        {"params": {"prompt": "p", "n": 1.0}},
        {"plan": replace(PLAN, cache_namespace="x")},
        {"plan": replace(PLAN, metadata={"_user": "u"})},
        {"target": replace(TARGET, unsupported_policy=UnsupportedPolicy.STRICT)},
        {"target": replace(TARGET, base_url="https://other.example/v1")},
        {"target": replace(TARGET, credentials=Credentials("other"))},
        {"target": replace(TARGET, credentials=Credentials("key", {"openai_project": "p"}))},
        {"target": replace(TARGET, adapter=get_adapter("stability-ai"))},
        {"target": replace(TARGET, forwarded_headers={"x-tenant": "t"})},
        {"target": SHARED},
        {"target": POOLED},
    ],
)
def test_everything_that_can_change_the_response_changes_the_key(change: dict[str, Any]) -> None:
    assert cache_key(**{**BASE, **change}) != cache_key(**BASE)


@pytest.mark.parametrize(
    "params",
    [
        {"n": 1, "prompt": "p"},
        {"prompt": "p", "n": 1, "response_format": "url"},
        {"prompt": "p", "n": 1, "stream": True, "partial_images": 3},
    ],
)
def test_neither_order_nor_form_changes_the_key(params: dict[str, Any]) -> None:
    assert cache_key(**{**BASE, "params": params}) == cache_key(**BASE)


def test_with_a_shared_cache_only_the_caller_is_left_out_of_the_key() -> None:
    shared = {**BASE, "target": SHARED}
    assert cache_key(**{**shared, "caller": "b"}) == cache_key(**shared)
    other = replace(SHARED, credentials=Credentials("other"))
    assert cache_key(**{**shared, "target": other}) != cache_key(**shared)


def test_a_pool_has_one_key_for_every_n() -> None:
    pooled = {**BASE, "target": POOLED}
    assert cache_key(**{**pooled, "params": {"prompt": "p", "n": 4}}) == cache_key(**pooled)


@pytest.mark.parametrize(
    ("params", "count"),
    [
        *(({}, 1), ({"n": None}, 1), ({"n": 3}, 3)),
        *(({"n": 0}, 0), ({"n": "3"}, 0), ({"n": 1.0}, 0), ({"n": True}, 0)),
        ({"n": 3, "seed": 7}, 0),
    ],
)
def test_only_a_valid_n_without_a_seed_uses_the_pool(params: dict[str, Any], count: int) -> None:
    assert pool_size(POOLED, params) == count
    assert pool_size(TARGET, params) == 0


@pytest.mark.parametrize(
    "other",
    [
        ("/v1" + PATH, ((b"a", b"b"),), b"{}"),
        (PATH, ((b"a", b"c"),), b"{}"),
        (PATH, ((b"a", b"b"), (b"", b"{}")), b""),
        (PATH, ((b"a", b"b"),), b"{} "),
        (PATH, (), b"a\nb\n\n{}"),
    ],
    ids=str,
)
def test_requests_with_other_bytes_have_other_raw_digests(other: Any) -> None:
    assert raw_request_digest(*other) != raw_request_digest(PATH, ((b"a", b"b"),), b"{}")
