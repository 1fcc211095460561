"""Reading the body of an image request: JSON, bounded in size and depth, counted in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from adapters.errors import BadParam
from proxy.errors import BadRequest
from proxy.http.body_limits import LARGE, Bodies, Held
from proxy.settings.schema import Limits

_JSON = "application/json"
_NESTED = (dict, list)
DEPTH_LIMIT = 32
"""Levels of nesting in a client's JSON."""


async def read_body(request: web.Request, bodies: Bodies) -> tuple[bytes, Held | None]:
    """Read the bytes of an image request, which have to be said to be JSON, and what they take."""
    told = request.headers.get("content-type", _JSON)
    if told != _JSON and (media_type := request.content_type.lower()) != _JSON:
        raise BadRequest(
            f"Send the body as JSON with content-type: {_JSON}, not {media_type}.",
            status=415,
            code="unsupported_content_type",
            legacy="Invalid content type passed",
        )
    return await _read(request, bodies)


def read_params(raw: bytes) -> tuple[bytes, dict[str, Any]]:
    """Read the JSON object of an image request: bytes that say just what was read, and that."""
    try:
        params = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadRequest(f"The body is not valid JSON ({place}).", code="invalid_json") from None
    if not isinstance(params, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    if is_deeper(params, DEPTH_LIMIT):
        raise BadRequest(
            f"The body is nested more than {DEPTH_LIMIT} levels deep.", code="invalid_json"
        )
    # Not as it came: of a key that is given twice a provider might take the other value, and make
    # a picture that the cache, a condition or an override knows nothing of.
    return orjson.dumps(params), params


async def _read(request: web.Request, bodies: Bodies) -> tuple[bytes, Held | None]:
    content = request.content
    try:
        if not content.is_eof():
            return await _as_it_comes(request, bodies)
        # All of it is there: aiohttp would wait for more, and be told that there is none.
        raw = content.read_nowait()
    except (web.RequestPayloadError, ConnectionError):
        raise BadRequest(
            "The body is cut short, or not compressed as its content-encoding says.",
            code="invalid_json",
        ) from None
    if 0 < request.client_max_size < len(raw):
        raise web.HTTPRequestEntityTooLarge(request.client_max_size)
    return raw, _held(request, bodies, len(raw)) if len(raw) > LARGE else None


async def _as_it_comes(request: web.Request, bodies: Bodies) -> tuple[bytes, Held | None]:
    """Read a body, which aiohttp decompresses, within all limits at every moment."""
    raw, held = bytearray(), None
    while piece := await request.content.readany():
        raw += piece
        if 0 < request.client_max_size < len(raw):
            raise web.HTTPRequestEntityTooLarge(request.client_max_size)
        if len(raw) > LARGE:
            held = _held(request, bodies, len(raw), held)
    return bytes(raw), held


def _held(request: web.Request, bodies: Bodies, size: int, held: Held | None = None) -> Held:
    """Count a large body, of which so much is there."""
    if size > request.content.total_raw_bytes * bodies.ratio:
        raise BadRequest(
            f"The body is more than {bodies.ratio} times as large as it was compressed.",
            status=413,
            code="request_too_large",
        )
    held = held or Held(bodies)
    held.grow(size)
    return held


def in_bounds(params: Mapping[str, Any], limits: Limits) -> None:
    """Hold against the limits what a provider would be paid for; raises `BadParam`."""
    n, prompt = params.get("n"), params.get("prompt")
    if isinstance(n, int | float) and n > limits.pictures:
        raise BadParam("n", f"'n' is {n}; one request may ask for {limits.pictures} at most.")
    if isinstance(prompt, str) and len(prompt) > limits.prompt_characters:
        raise BadParam(
            "prompt",
            f"'prompt' has {len(prompt)} characters; it may have {limits.prompt_characters}.",
        )


def is_deeper(tree: Any, limit: int) -> bool:
    """Tell whether JSON is nested deeper than `limit` levels.

    >>> is_deeper({"a": [1]}, 2), is_deeper({"a": [[1]]}, 2)
    (False, True)
    """
    level = [tree] if isinstance(tree, _NESTED) else []
    for _ in range(limit):
        if not level:
            return False
        values = [node.values() if isinstance(node, dict) else node for node in level]
        level = [it for inside in values for it in inside if isinstance(it, _NESTED)]
    return bool(level)
