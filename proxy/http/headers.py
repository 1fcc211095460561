"""What a client sent, parsed once: the body, and headers that hold more than a word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from adapters.errors import BadParam
from adapters.table.table import Policy
from proxy.errors import BadRequest
from proxy.http.body_limits import LARGE, Bodies, Held
from proxy.settings.routing_config import MAX_KEEPALIVE
from proxy.settings.schema import Limits

_TRUE, _FALSE = ("true",), ("false", "")
_POLICIES = tuple(policy.value for policy in Policy)
_JSON = "application/json"
_TRACE_LIMIT = 512
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


def read_text(headers: Mapping[str, str], name: str) -> str:
    """Read a header that holds any text; its bytes may be none."""
    text = headers.get(name, "")
    if text.isprintable():
        return text
    raise BadRequest(f"{name} must be printable text.", code="invalid_header", param=name)


def read_metadata(headers: Mapping[str, str]) -> dict[str, Any]:
    """Read `x-portkey-metadata`: a JSON object."""
    text = headers.get("x-portkey-metadata", "")
    if not text:
        return {}
    try:
        metadata = orjson.loads(text)
    except orjson.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict) or is_deeper(metadata, DEPTH_LIMIT):
        raise BadRequest(
            'x-portkey-metadata must be a JSON object, such as {"_user": "u1"}.',
            code="invalid_header",
            param="x-portkey-metadata",
        )
    return metadata


def read_flag(headers: Mapping[str, str], name: str) -> bool:
    """Read a header that is `true` or `false`, in any case."""
    text = headers.get(name, "").strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise BadRequest(f"{name} must be true or false.", code="invalid_header", param=name)


def read_policy(headers: Mapping[str, str]) -> Policy | None:
    """Read `x-easel-unsupported`: what becomes of a parameter that a provider cannot express."""
    text = headers.get("x-easel-unsupported", "").strip().lower()
    if not text:
        return None
    if text in _POLICIES:
        return Policy(text)
    raise BadRequest(
        f"x-easel-unsupported must be one of {', '.join(_POLICIES)}.",
        code="invalid_header",
        param="x-easel-unsupported",
    )


def read_milliseconds(headers: Mapping[str, str], name: str, most: int) -> float | None:
    """Read a header that holds a whole number of milliseconds, as seconds."""
    text = headers.get(name, "").strip()
    if not text:
        return None
    if re.fullmatch("[0-9]{1,12}", text) and 1 <= int(text) <= most:
        return int(text) / 1000
    raise BadRequest(
        f"{name} must be a whole number of milliseconds, 1 to {most}.",
        code="invalid_header",
        param=name,
    )


def read_keepalive(headers: Mapping[str, str]) -> int | None:
    """Read `x-easel-keepalive`: whole seconds, 0 for never; None where it does not say."""
    text = headers.get("x-easel-keepalive", "").strip()
    if not text:
        return None
    if re.fullmatch("[0-9]{1,3}", text) and int(text) <= MAX_KEEPALIVE:
        return int(text)
    raise BadRequest(
        f"x-easel-keepalive must be a whole number of seconds, 1 to {MAX_KEEPALIVE}, or 0.",
        code="invalid_header",
        param="x-easel-keepalive",
    )


def read_idempotency_key(headers: Mapping[str, str]) -> str:
    """Read `Idempotency-Key`: a client's own name for a request, "" when it gives none."""
    key = headers.get("idempotency-key", "").strip()
    if len(key) <= _TRACE_LIMIT and key.isascii() and (not key or key.isprintable()):
        return key
    raise BadRequest(
        f"Idempotency-Key must be printable ASCII, at most {_TRACE_LIMIT} characters.",
        code="invalid_header",
        param="Idempotency-Key",
    )


def prefers_async(headers: Mapping[str, str]) -> bool:
    """Tell whether `Prefer` asks for an answer at once, and the picture later (RFC 7240)."""
    if "prefer" not in headers:
        return False
    preferences = headers["prefer"].lower().split(",")
    return any(it.partition(";")[0].strip() == "respond-async" for it in preferences)


def is_untracked(headers: Mapping[str, str]) -> bool:
    """Tell whether `x-portkey-debug: false` asks that nothing of a request be kept."""
    return headers.get("x-portkey-debug", "").lower() == "false"


def usable_trace(text: str) -> bool:
    """Tell whether a trace id can be echoed: printable ASCII of a bounded length."""
    return 0 < len(text) <= _TRACE_LIMIT and text.isascii() and text.isprintable()
