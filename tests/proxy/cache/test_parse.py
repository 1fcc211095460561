"""An answer that was relayed unread, taken apart."""

from __future__ import annotations

import orjson
import pytest

from adapters import adapter
from adapters.contract import Answer, ImageCall
from proxy.cache.parse import EVENTS, read
from tests.support.gateway import B64

OPENAI, CALL = adapter("openai"), ImageCall({}, {})
FINISHED = {
    "type": "image_generation.completed",
    "b64_json": B64,
    "created_at": 7,
    "quality": "low",
    "seed": 1,
    "usage": {"total_tokens": 3},
}
PREVIEW = {**FINISHED, "type": "image_generation.partial_image", "partial_image_index": 0}
ERROR = {"type": "error", "error": {"message": "m"}}


def told(*events: object) -> bytes:
    return b"".join(b": keep-alive\n\ndata: %b\n\n" % orjson.dumps(event) for event in events)


def of_events(*events: object) -> list[Answer]:
    return read(OPENAI, CALL, EVENTS, told(*events))


def test_json_is_read_with_all_that_stands_in_it() -> None:
    tree = {"created": 7, "data": [{"b64_json": B64, "seed": 1}], "usage": {"a": 1}, "size": "1x1"}
    [answer] = read(OPENAI, CALL, "application/json", orjson.dumps(tree))
    [image] = answer.images
    assert (image.b64, image.extra) == (B64, {"seed": 1})
    assert (answer.extra, answer.usage) == ({"created": 7, "size": "1x1"}, {"a": 1})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data":[]}', b'{"error":{"message":"m"}}'])
def test_what_holds_no_picture_consists_of_nothing(body: bytes) -> None:
    assert read(OPENAI, CALL, "application/json", body) == []


def test_of_events_the_finished_pictures_count() -> None:
    first, second = of_events(PREVIEW, FINISHED, {**FINISHED, "seed": 2})
    assert [it.images[0].extra for it in (first, second)] == [{"seed": 1}, {"seed": 2}]
    assert first.images[0].b64 == B64
    assert (first.extra, first.usage) == ({"created": 7, "quality": "low"}, {"total_tokens": 3})


@pytest.mark.parametrize("events", [(), (PREVIEW,), (FINISHED, ERROR), ("text", [1], None)])
def test_events_that_end_in_a_failure_or_in_nothing_consist_of_nothing(
    events: tuple[object, ...],
) -> None:
    assert of_events(*events) == []
