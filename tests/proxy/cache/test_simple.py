"""The cache's own promises: what tells two answers apart, what is kept, for how long, how much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapters import adapter
from adapters.contract import Credentials
from adapters.params import Policy
from proxy.cache.simple import Kept, SimpleCache, keepable, key_of
from proxy.plan import Plan, Recording, Target
from proxy.policies import CachePolicy

TARGET = Target(
    adapter("openai"), Credentials("key"), "https://api.openai.com/v1", cache=CachePolicy("simple")
)
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
        {"target": replace(TARGET, policy=Policy.STRICT)},
        {"target": replace(TARGET, base_url="https://other.example/v1")},
        {"target": replace(TARGET, credentials=Credentials("other"))},
        {"target": replace(TARGET, credentials=Credentials("key", {"openai_project": "p"}))},
        {"target": replace(TARGET, adapter=adapter("stability-ai"))},
        {"target": replace(TARGET, forwarded={"x-tenant": "t"})},
    ],
)
def test_whatever_may_change_the_answer_changes_the_key(change: dict[str, Any]) -> None:
    assert key_of(**{**BASE, **change}) != key_of(**BASE)


def test_the_order_of_parameters_does_not_change_the_key() -> None:
    assert key_of(**{**BASE, "params": {"n": 1, "prompt": "p"}}) == key_of(**BASE)


def recorded(body: bytes, *, status: int = 200, complete: bool = True) -> Recording:
    recording = Recording(1000)
    recording.begin(status, "application/json", len(body))
    recording.add(body)
    recording.complete = complete
    return recording


PICTURE = b'{"data":[{"b64_json":"AAAA"}]}'


@pytest.mark.parametrize(
    "recording",
    [
        recorded(PICTURE, complete=False),
        recorded(PICTURE, status=429),
        recorded(b'{"data":[]}'),
        recorded(b'{"data":[{"b64_json":null}]}'),
        recorded(b'{"error":{"message":"no"}}'),
        recorded(PICTURE.replace(b"AAAA", b"A" * 2000)),
    ],
)
def test_only_a_whole_success_with_a_picture_is_kept(recording: Recording) -> None:
    assert keepable(recording, TARGET, "") is None


def test_a_picture_is_kept_as_long_as_the_config_says() -> None:
    kept = keepable(recorded(PICTURE), TARGET, "receipt")
    assert kept
    assert (kept.body, kept.seconds, kept.receipt) == (PICTURE, 604_800, "receipt")


def test_an_answer_with_a_url_is_not_kept_past_its_url() -> None:
    kept = keepable(recorded(b'{"data":[{"url":"https://x.test/a"}]}'), TARGET, "")
    assert kept
    assert kept.seconds < TARGET.adapter.url_lifetime


def test_an_answer_with_a_url_of_unknown_life_is_not_kept() -> None:
    target = replace(TARGET, adapter=adapter("workers-ai"))
    assert keepable(recorded(b'{"data":[{"url":"https://x.test/a"}]}'), target, "") is None


def kept(size: int, seconds: float = 60) -> Kept:
    return Kept(b"x" * size, "application/json", seconds, "openai", "")


def test_it_never_holds_more_than_its_limit() -> None:
    cache = SimpleCache(10_000)
    for number in range(100):
        cache.put(bytes([number]), kept(1500))
        assert cache.held <= 10_000
    assert cache.get(bytes([99]))
    assert cache.get(bytes([0])) is None


def test_what_can_never_fit_is_not_kept() -> None:
    cache = SimpleCache(1000)
    cache.put(b"k", kept(1000))
    assert cache.get(b"k") is None


def test_each_answer_has_its_own_lifetime() -> None:
    now = [0.0]
    cache = SimpleCache(10_000, clock=lambda: now[0])
    cache.put(b"short", kept(1, seconds=60))
    cache.put(b"long", kept(1, seconds=600))
    now[0] = 61
    assert cache.get(b"short") is None
    assert cache.get(b"long")
