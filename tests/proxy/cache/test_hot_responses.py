"""Hot responses: memory limit and LRU eviction."""

from __future__ import annotations

from adapters import get_adapter
from adapters.contract import Answer, Credentials
from adapters.table.receipt import Receipt
from proxy.cache.entry import CacheEntry
from proxy.cache.hot_responses import ByteCapture, HotResponse, HotResponses
from proxy.routing.plan import Target

TARGET = Target(get_adapter("openai"), Credentials("k"), "https://api.openai.com/v1")


def ready(size: int) -> HotResponse:
    return HotResponse(bytes(size), "job", Receipt(), TARGET, b"key", CacheEntry((), 0.0))


def test_the_least_recently_used_is_evicted() -> None:
    answers, each = HotResponses(100_000), ready(20_000)
    for name in (b"a", b"b", b"c", b"d"):
        answers.put(name, each)
    assert answers.get(b"a") is each
    answers.put(b"e", each)
    assert [answers.get(name) is each for name in (b"a", b"b", b"e")] == [True, False, True]


def test_a_large_response_is_not_kept_and_a_removed_one_is_gone() -> None:
    answers = HotResponses(100_000)
    answers.put(b"a", ready(30_000))
    assert answers.get(b"a") is None
    answers.put(b"b", ready(100))
    answers.remove(b"b")
    answers.remove(b"b")
    assert answers.get(b"b") is None


def test_a_capture_has_the_bytes_of_a_composed_response() -> None:
    copy = ByteCapture(100)
    copy.start(200, "application/json", None)
    copy.add_answer(Answer(()))
    copy.add_chunk(b"ab")
    assert copy.chunks == [b"ab"]


def test_repr_shows_no_content() -> None:
    assert "body" not in repr(ready(9))
