"""The answers' bytes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.errors import BadParam
from proxy.sandbox.request import SandboxRequest, parse_request
from proxy.sandbox.response import CREATED, Chunks, error_body, json_body, sse_event, usage


def order(**params: Any) -> SandboxRequest:
    return parse_request(orjson.dumps({"prompt": "a red fox", "size": "64x48", **params}))


def parsed(pieces: Chunks) -> Any:
    return orjson.loads(b"".join(pieces))


def fields(pieces: Chunks) -> tuple[str, Any]:
    head, data, *end = b"".join(pieces).split(b"\n")
    assert end == [b"", b""]
    return head.removeprefix(b"event: ").decode(), orjson.loads(data.removeprefix(b"data: "))


def test_a_document_describes_what_was_made() -> None:
    made = parsed(json_body(order(quality="hd"), [b"aGk="]))
    described = {key: made[key] for key in ("background", "output_format", "quality", "size")}
    assert list(described.values()) == ["opaque", "png", "high", "64x48"]
    assert (made["created"], made["data"]) == (CREATED, [{"b64_json": "aGk="}])


def test_each_picture_is_an_entry() -> None:
    made = parsed(json_body(order(n=3), [b"YQ==", b"Yg==", b"Yw=="]))
    assert [entry["b64_json"] for entry in made["data"]] == ["YQ==", "Yg==", "Yw=="]


def test_a_picture_is_never_copied_into_a_larger_text() -> None:
    b64 = b"aGk=" * 1000
    assert any(piece is b64 for piece in json_body(order(), [b64]))
    assert any(piece is b64 for piece in sse_event(order(stream=True), 0, b64))


def test_a_partial_event_has_exactly_the_documented_fields() -> None:
    name, made = fields(sse_event(order(stream=True, partial_images=2), 1, b"aGk="))
    assert name == made.pop("type") == "image_generation.partial_image"
    assert made == {
        "b64_json": "aGk=",
        "partial_image_index": 1,
        "created_at": CREATED,
        "size": "64x48",
        "quality": "medium",
        "background": "opaque",
        "output_format": "png",
    }


def test_a_completed_event_has_exactly_the_documented_fields() -> None:
    name, made = fields(sse_event(order(stream=True, partial_images=2), 2, b"aGk="))
    assert name == made.pop("type") == "image_generation.completed"
    counted = made.pop("usage")
    _, partial = fields(sse_event(order(stream=True, partial_images=2), 1, b"aGk="))
    assert made.keys() == partial.keys() - {"type", "partial_image_index"}
    assert counted["input_tokens_details"] == {"text_tokens": 3, "image_tokens": 0}


@pytest.mark.parametrize("pictures", [1, 4])
def test_usage_adds_up(pictures: int) -> None:
    counted = usage(order(), pictures)
    assert counted["total_tokens"] == counted["input_tokens"] + counted["output_tokens"]
    assert counted["output_tokens"] == pictures * usage(order(), 1)["output_tokens"]


def test_a_better_picture_costs_more() -> None:
    qualities = ["low", "medium", "high", "xhigh", "max"]
    costs = [usage(order(quality=quality), 1)["output_tokens"] for quality in qualities]
    assert costs == sorted(set(costs))


def test_an_error_is_the_error_object() -> None:
    error = orjson.loads(error_body(BadParam("size", "too large")))["error"]
    assert error == {
        "message": "too large",
        "type": "invalid_request_error",
        "param": "size",
        "code": "invalid_value",
    }
