"""Spans by themselves: they end with their block, fail by a word, and lead to their jobs."""

from __future__ import annotations

import asyncio

import pytest

from adapters.errors import ImageError
from proxy.errors import BadRequest, RequestTimeout
from proxy.observability.tracing.context import CURRENT_SPAN
from proxy.observability.tracing.spans import ServerSpan, Span, Tracer, error_type
from proxy.settings.schema import Tracing
from tests.support.otlp import Receiver, fresh_receiver
from tests.support.spans import NO_HEADERS


@pytest.fixture
async def receiver() -> Receiver:
    return await fresh_receiver()


@pytest.fixture
def tracer(receiver: Receiver) -> Tracer:
    return Tracer(Tracing(endpoint=receiver.url))


def serving(tracer: Tracer) -> ServerSpan:
    return tracer.start_server_span("a", NO_HEADERS, {})


async def test_what_begins_in_a_block_is_its_child(receiver: Receiver, tracer: Tracer) -> None:
    async with tracer:
        with serving(tracer) as outer:
            assert CURRENT_SPAN.get() is outer
            with outer.start_child("b", {}) as inner:
                assert CURRENT_SPAN.get() is inner
            assert CURRENT_SPAN.get() is outer
        assert CURRENT_SPAN.get() is None
    seen = await receiver.got()
    assert seen.one("b").parent == seen.one("a").id


async def test_a_task_goes_on_in_the_span_that_it_was_made_in(
    receiver: Receiver, tracer: Tracer
) -> None:
    async def later(go: asyncio.Event) -> None:
        await go.wait()
        current = CURRENT_SPAN.get()
        assert isinstance(current, Span)
        with current.start_child("late", {}):
            pass

    async with tracer:
        go = asyncio.Event()
        with serving(tracer):
            task = asyncio.create_task(later(go))
        go.set()
        await task
    seen = await receiver.got()
    assert seen.one("late").parent == seen.one("a").id
    assert seen.one("late").began >= seen.one("a").ended


async def test_a_failure_is_told_by_its_word_and_never_by_its_sentence(
    receiver: Receiver, tracer: Tracer
) -> None:
    async with tracer:
        with pytest.raises(ValueError, match="sekret"), serving(tracer):
            raise ValueError("a sekret prompt")
    seen = await receiver.got()
    assert (seen.one("a").failed, seen.one("a")["error.type"]) == (True, "ValueError")
    assert seen.one("a").events == ()
    assert b"sekret" not in seen.raw


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (BadRequest("A sekret."), "invalid_request"),
        (RequestTimeout("Late."), "timeout_error"),
        (ImageError("x", code="a sekret of the provider's"), "server_error"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyError("sekret"), "KeyError"),
    ],
)
def test_the_word_for_a_failure(error: BaseException, word: str) -> None:
    assert error_type(error) == word


async def test_counts_add_up(receiver: Receiver, tracer: Tracer) -> None:
    async with tracer:
        with serving(tracer) as span:
            span.add_count("n", 2)
            span.add_count("n", 3)
    assert (await receiver.got()).one("a")["n"] == 5


async def test_a_job_that_is_not_known_here_is_led_to_by_nothing(
    receiver: Receiver, tracer: Tracer
) -> None:
    async with tracer:
        with serving(tracer) as span, span.start_job("j1"):
            pass
        with tracer.start_server_span("b", NO_HEADERS, {}) as other:
            other.link_to_job("j1")
            other.link_to_job("j2")
    seen = await receiver.got()
    assert seen.one("b").links == (seen.one("job").id,)


async def test_what_is_too_long_is_cut(receiver: Receiver, tracer: Tracer) -> None:
    async with tracer:
        with serving(tracer) as span:
            span.set_attributes({"x": "y" * 100_000})
    assert (await receiver.got()).one("a")["x"] == "y" * 512
