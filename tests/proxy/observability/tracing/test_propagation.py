"""Headers of a trace: what is malformed is passed over, and what goes on is well formed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from opentelemetry.trace import SpanContext, TraceFlags, TraceState, get_current_span

from proxy.observability.tracing.propagation import (
    extract_baggage,
    extract_parent,
    propagation_headers,
)
from tests.support.spans import PARENT, SPAN, TRACE

CONTEXT = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=TraceFlags(3))


def parent(*values: str, state: str = "") -> SpanContext:
    headers = CIMultiDict([("TraceParent", it) for it in values])
    if state:
        headers["tracestate"] = state
    return get_current_span(extract_parent(headers)).get_span_context()


def test_a_parent_is_read() -> None:
    read = parent(PARENT, state="a=1,b=2")
    assert (f"{read.trace_id:032x}", f"{read.span_id:016x}") == (TRACE, SPAN)
    assert (read.is_remote, read.trace_flags.sampled) == (True, True)
    assert read.trace_state.to_header() == "a=1,b=2"


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "00",
        PARENT[:-1],
        PARENT + "0",
        PARENT + "-more",
        PARENT.upper(),
        PARENT.replace(TRACE, "0" * 32),
        PARENT.replace(SPAN, "0" * 16),
        "ff" + PARENT[2:],
        PARENT + "\r\nx-evil: 1",
        PARENT * 100,
        "\udce9" + PARENT,
    ],
)
def test_a_malformed_parent_is_passed_over(malformed: str) -> None:
    assert not parent(malformed).is_valid


def test_two_parents_are_none() -> None:
    assert not parent(PARENT, PARENT).is_valid
    assert not parent().is_valid


@given(st.text())
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    parent(text, state=text)
    parent(PARENT, state=text)
    extract_baggage(CIMultiDict(baggage=text))


def test_a_later_versions_parent_is_read() -> None:
    assert parent("01" + PARENT[2:] + "-more").is_valid


@pytest.mark.parametrize(
    "good", ["a=1", "a=1,b=2;p=3;q", " a = 1 , b=", "user=alice%20b,tenant=7", "a=x=y"]
)
def test_baggage_goes_on_as_it_came(good: str) -> None:
    assert extract_baggage(CIMultiDict(baggage=good)) == good
    assert extract_baggage(CIMultiDict([("baggage", "a=1"), ("Baggage", good)])) == f"a=1,{good}"


@pytest.mark.parametrize(
    "bad",
    [
        *("", "a", "=1", "a=1,", "a=\u00e9", "a=1\r\nx: 2", 'a="1"', "a=1;=2", "a b=1"),
        *("a=" + "1" * 8192, ",".join(["a=1"] * 181)),
    ],
)
def test_baggage_that_is_none_goes_nowhere(bad: str) -> None:
    assert extract_baggage(CIMultiDict(baggage=bad)) == ""


def test_none_trace_and_all() -> None:
    assert propagation_headers(CONTEXT, "none", "a=1") == {}
    assert propagation_headers(CONTEXT, "trace", "a=1") == {"traceparent": PARENT}
    assert propagation_headers(CONTEXT, "all", "") == {"traceparent": PARENT}
    stated = SpanContext(
        CONTEXT.trace_id,
        CONTEXT.span_id,
        is_remote=False,
        trace_flags=TraceFlags(0),
        trace_state=TraceState([("v", "1")]),
    )
    assert propagation_headers(stated, "all", "a=1") == {
        "traceparent": PARENT[:-1] + "0",
        "tracestate": "v=1",
        "baggage": "a=1",
    }


@given(st.text(max_size=100))
def test_no_header_that_goes_on_has_a_second_line(text: str) -> None:
    context = get_current_span(
        extract_parent(CIMultiDict(traceparent=PARENT, tracestate=text))
    ).get_span_context()
    made = propagation_headers(context, "all", extract_baggage(CIMultiDict(baggage=text)))
    assert all(it.isprintable() and it.isascii() for it in made.values())
