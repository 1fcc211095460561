"""The studio's answers in OpenAI's shape, as pieces to be sent one after the other.

A picture's base64 text is a piece of its own, so that it is never copied into a larger one.
Everything here is a function of the order; even the time is always `CREATED`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import orjson

from adapters.errors import ImageError
from proxy.sandbox.request import SandboxRequest

CREATED: Final = 1_767_225_600
"""When every picture was made: 2026-01-01T00:00:00Z."""

Pieces = list[bytes]

# Tokens for a picture of 1024x1024 pixels; other sizes cost by their area.
_IMAGE_TOKENS = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 6240, "max": 8320}
_SQUARE = 1024 * 1024
_PARTIAL_TOKENS = 100
_BYTES_PER_TOKEN = 4


def json_body(order: SandboxRequest, images: Sequence[bytes]) -> Pieces:
    """Write the JSON answer around the pictures' base64 texts."""
    opening = b'{"created":%d,"data":[' % CREATED
    before, after = b'{"b64_json":"', b'"}'
    entries = [piece for b64 in images for piece in (b",", before, b64, after)][1:]
    tokens = usage(order, order.n)
    tokens["output_tokens_details"] = {"image_tokens": tokens["output_tokens"], "text_tokens": 0}
    return [opening, *entries, b"],", _closing_fields({**_description(order), "usage": tokens})]


def sse_event(order: SandboxRequest, stage: int, b64: bytes) -> Pieces:
    """Write the event of a picture at a stage; stage `order.partials` is the finished one.

    A finished picture's usage is that of this one picture.
    """
    dated = {"created_at": CREATED, **_description(order)}
    if stage < order.partials:
        fields = {"partial_image_index": stage, **dated}
        return _event(b"image_generation.partial_image", b64, fields)
    return _event(b"image_generation.completed", b64, {**dated, "usage": usage(order, 1)})


def error_body(error: ImageError) -> bytes:
    """Write an error."""
    return orjson.dumps({"error": error.to_dict()})


def usage(order: SandboxRequest, images: int) -> dict[str, Any]:
    """Count tokens, plausibly: the prompt by its length, a picture by its quality and area."""
    text = math.ceil(len(order.prompt.encode()) / _BYTES_PER_TOKEN)
    area = order.width * order.height / _SQUARE
    image = math.ceil(_IMAGE_TOKENS[order.quality] * area) + _PARTIAL_TOKENS * order.partials
    return {
        "input_tokens": text,
        "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
        "output_tokens": image * images,
        "total_tokens": text + image * images,
    }


def _event(kind: bytes, b64: bytes, fields: dict[str, Any]) -> Pieces:
    opening = b'event: %s\ndata: {"type":"%s","b64_json":"' % (kind, kind)
    return [opening, b64, b'",', _closing_fields(fields), b"\n\n"]


def _description(order: SandboxRequest) -> dict[str, Any]:
    return {
        "background": order.background,
        "output_format": order.output_format,
        "quality": order.quality,
        "size": order.size,
    }


def _closing_fields(fields: dict[str, Any]) -> bytes:
    """Write the last fields of an object that is already open, and close it."""
    return orjson.dumps(fields)[1:]
