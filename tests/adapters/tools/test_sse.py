"""Server-sent events, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tools.sse import EventParser

STREAM = (
    b": hello\n\nevent: one\ndata: 1\n\ndata: two\ndata:  lines\r\n\r\nid: 7\n\n"
    b"data\n\ndata: [DONE]\r\rdata: unended"
)
WHOLE = [("one", b"1"), ("", b"two\n lines"), ("", b""), ("", b"[DONE]"), ("", b"unended")]


def read(*pieces: bytes) -> list[tuple[str, bytes]]:
    events = EventParser()
    found = [event for piece in pieces for event in events.feed(piece)]
    return [(event.name, event.data) for event in (*found, *events.flush())]


def test_a_stream_is_taken_apart() -> None:
    assert read(STREAM) == WHOLE


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_it_does_not_matter_where_a_stream_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert read(*(STREAM[a:b] for a, b in pairwise(places))) == WHOLE


def test_what_is_no_event_yet_is_counted() -> None:
    events = EventParser()
    events.feed(b"data: 1\n\ndata: 23")
    assert events.buffered_bytes == len(b"data: 23")


@pytest.mark.parametrize(("data", "found"), [(b'{"a": 1}', {"a": 1}), (b"[DONE]", None)])
def test_data_is_json_or_none(data: bytes, found: object) -> None:
    [event] = EventParser().feed(b"data: %b\n\n" % data)
    assert event.json() == found


def test_a_byte_order_mark_before_the_first_event_is_ignored() -> None:
    stream = b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\ndata: 3\n\n"
    for size in (1, 2, 5, len(stream)):
        parser = EventParser()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [it.data for piece in pieces for it in parser.feed(piece)] == [b"1", b"3"], size
