"""The sandbox's responses in OpenAI's shape, as chunks to be sent in request.

An image's base64 is a chunk of its own, so that it is never copied into a larger one. Everything
here is a function of the request; even the time is always `CREATED`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import orjson

from adapters.errors import ImageError
from proxy.sandbox.request import SandboxRequest

CREATED: Final = 1_767_225_600
"""The creation time of every image: 2026-01-01T00:00:00Z."""

Chunks = list[bytes]

# Tokens for an image of 1024x1024 pixels; other sizes in proportion to their area.
_IMAGE_TOKENS = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 6240, "max": 8320}
_SQUARE = 1024 * 1024
_PARTIAL_TOKENS = 100
_BYTES_PER_TOKEN = 4


def json_body(request: SandboxRequest, images: Sequence[bytes]) -> Chunks:
    """Return the JSON body around the images' base64."""
    opening = b'{"created":%d,"data":[' % CREATED
    before, after = b'{"b64_json":"', b'"}'
    entries = [chunk for b64 in images for chunk in (b",", before, b64, after)][1:]
    tokens = usage(request, request.n)
    tokens["output_tokens_details"] = {"image_tokens": tokens["output_tokens"], "text_tokens": 0}
    return [opening, *entries, b"],", _closing_fields({**_description(request), "usage": tokens})]


def sse_event(request: SandboxRequest, stage: int, b64: bytes) -> Chunks:
    """Return the event of an image at a stage; stage `request.partials` is the final one.

    The usage of a final image is for that image alone.
    """
    dated = {"created_at": CREATED, **_description(request)}
    if stage < request.partials:
        fields = {"partial_image_index": stage, **dated}
        return _event(b"image_generation.partial_image", b64, fields)
    return _event(b"image_generation.completed", b64, {**dated, "usage": usage(request, 1)})


def error_body(error: ImageError) -> bytes:
    """Return an error body."""
    return orjson.dumps({"error": error.to_dict()})


def usage(request: SandboxRequest, images: int) -> dict[str, Any]:
    """Return plausible token counts: of the prompt by length, of images by quality and area."""
    text = math.ceil(len(request.prompt.encode()) / _BYTES_PER_TOKEN)
    area = request.width * request.height / _SQUARE
    image = math.ceil(_IMAGE_TOKENS[request.quality] * area) + _PARTIAL_TOKENS * request.partials
    return {
        "input_tokens": text,
        "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
        "output_tokens": image * images,
        "total_tokens": text + image * images,
    }


def _event(kind: bytes, b64: bytes, fields: dict[str, Any]) -> Chunks:
    opening = b'event: %s\ndata: {"type":"%s","b64_json":"' % (kind, kind)
    return [opening, b64, b'",', _closing_fields(fields), b"\n\n"]


def _description(request: SandboxRequest) -> dict[str, Any]:
    return {
        "background": request.background,
        "output_format": request.output_format,
        "quality": request.quality,
        "size": request.size,
    }


def _closing_fields(fields: dict[str, Any]) -> bytes:
    """Return the last fields of an object that is already open, and its closing brace."""
    return orjson.dumps(fields)[1:]
