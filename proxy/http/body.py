"""Reading the body of an image request: JSON, bounded in size and depth, counted in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from adapters.errors import BadParam
from proxy.errors import BadRequest
from proxy.http.body_limits import RESERVE_ABOVE, BodyMemory, BodyReservation
from proxy.settings.schema import Limits

_JSON = "application/json"
_CONTAINERS = (dict, list)
DEPTH_LIMIT = 32
"""Levels of nesting in a client's JSON."""


async def read_body(
    request: web.Request, memory: BodyMemory
) -> tuple[bytes, BodyReservation | None]:
    """Read the bytes of an image request; return them and, for a large body, its reservation.

    Raises `BadRequest` for a content type other than JSON.
    """
    content_type = request.headers.get("content-type", _JSON)
    if content_type != _JSON and (media_type := request.content_type.lower()) != _JSON:
        raise BadRequest(
            f"Send the body as JSON with content-type: {_JSON}, not {media_type}.",
            status=415,
            code="unsupported_content_type",
            legacy="Invalid content type passed",
        )
    return await _read_bytes(request, memory)


def read_params(raw: bytes) -> tuple[bytes, dict[str, Any]]:
    """Parse the JSON object of an image request; return it serialized again, and as a dict."""
    try:
        params = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadRequest(f"The body is not valid JSON ({place}).", code="invalid_json") from None
    if not isinstance(params, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    if exceeds_depth(params, DEPTH_LIMIT):
        raise BadRequest(
            f"The body is nested more than {DEPTH_LIMIT} levels deep.", code="invalid_json"
        )
    # Not the original bytes: for a duplicate key a provider might use the other value, and make an
    # image that does not match the cache key, the conditions and the overrides.
    return orjson.dumps(params), params


async def _read_bytes(
    request: web.Request, memory: BodyMemory
) -> tuple[bytes, BodyReservation | None]:
    content = request.content
    try:
        if not content.is_eof():
            return await _read_chunks(request, memory)
        # The whole body has arrived. aiohttp's `read` would still wait for the end once more.
        raw = content.read_nowait()
    except (web.RequestPayloadError, ConnectionError):
        raise BadRequest(
            "The body is incomplete, or not compressed as its content-encoding says.",
            code="invalid_json",
        ) from None
    if 0 < request.client_max_size < len(raw):
        raise web.HTTPRequestEntityTooLarge(request.client_max_size)
    return raw, _reserve(request, memory, len(raw)) if len(raw) > RESERVE_ABOVE else None


async def _read_chunks(
    request: web.Request, memory: BodyMemory
) -> tuple[bytes, BodyReservation | None]:
    """Read a body chunk by chunk, decompressed by aiohttp; check every limit after each chunk."""
    raw, reservation = bytearray(), None
    while chunk := await request.content.readany():
        raw += chunk
        if 0 < request.client_max_size < len(raw):
            raise web.HTTPRequestEntityTooLarge(request.client_max_size)
        if len(raw) > RESERVE_ABOVE:
            reservation = _reserve(request, memory, len(raw), reservation)
    return bytes(raw), reservation


def _reserve(
    request: web.Request, memory: BodyMemory, size: int, reservation: BodyReservation | None = None
) -> BodyReservation:
    """Reserve memory for a large body, of which `size` bytes have arrived so far."""
    if size > request.content.total_raw_bytes * memory.max_ratio:
        raise BadRequest(
            f"The body is more than {memory.max_ratio} times as large as it was compressed.",
            status=413,
            code="request_too_large",
        )
    reservation = reservation or BodyReservation(memory)
    reservation.grow(size)
    return reservation


def enforce_limits(params: Mapping[str, Any], limits: Limits) -> None:
    """Raise `BadParam` if the number of images or the prompt exceeds the limits."""
    n, prompt = params.get("n"), params.get("prompt")
    if isinstance(n, int | float) and n > limits.images:
        raise BadParam("n", f"'n' is {n}; the limit is {limits.images}.")
    if isinstance(prompt, str) and len(prompt) > limits.prompt_characters:
        raise BadParam(
            "prompt",
            f"'prompt' has {len(prompt)} characters; the limit is {limits.prompt_characters}.",
        )


def exceeds_depth(tree: Any, limit: int) -> bool:
    """Return whether a JSON value is nested deeper than `limit` levels.

    >>> exceeds_depth({"a": [1]}, 2), exceeds_depth({"a": [[1]]}, 2)
    (False, True)
    """
    level = [tree] if isinstance(tree, _CONTAINERS) else []
    for _ in range(limit):
        if not level:
            return False
        values = [node.values() if isinstance(node, dict) else node for node in level]
        level = [value for inside in values for value in inside if isinstance(value, _CONTAINERS)]
    return bool(level)
