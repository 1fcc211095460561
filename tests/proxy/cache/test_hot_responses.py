"""Ready answers lie within a bound, the longest unused go first."""

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


def test_the_longest_unused_goes_first() -> None:
    answers, each = HotResponses(100_000), ready(20_000)
    for name in (b"a", b"b", b"c", b"d"):
        answers.put(name, each)
    assert answers.get(b"a") is each
    answers.put(b"e", each)
    assert [answers.get(name) is each for name in (b"a", b"b", b"e")] == [True, False, True]


def test_one_that_is_too_large_is_not_held_and_one_that_was_given_up_is_gone() -> None:
    answers = HotResponses(100_000)
    answers.put(b"a", ready(30_000))
    assert answers.get(b"a") is None
    answers.put(b"b", ready(100))
    answers.remove(b"b")
    answers.remove(b"b")
    assert answers.get(b"b") is None


def test_a_copy_has_the_bytes_of_what_was_put_together() -> None:
    copy = ByteCapture(100)
    copy.start(200, "application/json", None)
    copy.add_answer(Answer(()))
    copy.add_chunk(b"ab")
    assert copy.chunks == [b"ab"]


def test_no_answer_shows_what_it_holds() -> None:
    assert "body" not in repr(ready(9))
