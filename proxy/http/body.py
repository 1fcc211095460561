"""Reading the body of an image request: JSON, bounded by its bytes and by what it becomes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from adapters.errors import BadParam
from adapters.table.param import as_whole
from proxy.errors import BadRequest
from proxy.http.body_limits import RESERVE_ABOVE, BodyMemory, BodyReservation
from proxy.http.input_budget import VALUE_BYTES, count_values, exceeds_depth
from proxy.settings.schema import Limits

_JSON = "application/json"
DEPTH_LIMIT = 32
"""Levels of nesting in a client's JSON."""
_WHOLE_NUMBERS = ("n", "partial_images")
_INTEGERS = (*_WHOLE_NUMBERS, "output_compression", "seed")
"""Parameters of which `2.0` is sent as `2`."""
_ENCODINGS = ("gzip", "deflate", "identity", "")
"""Content encodings of a request that aiohttp undoes, one layer of them."""
_LONG_INTEGER = re.compile(rb"[:,\[]\s*-?[0-9]{19}")
"""What may be a whole number beyond 64 bits, which the parser would round."""
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
_PARSE_IN_THREAD_ABOVE = 1024 * 1024
"""Bytes above which a body is counted and parsed in a thread. Each of these steps keeps other
threads waiting by itself; between them the event loop continues.
"""


async def read_body(
    request: web.Request, memory: BodyMemory
) -> tuple[bytes, BodyReservation | None]:
    """Read the bytes of an image request; return them and, for a large body, its reservation.

    Raises `BadRequest` for a content type other than JSON, and an unknown content encoding.
    """
    encodings = request.headers.getall("content-encoding", ())
    if encodings and ",".join(encodings).strip().lower() not in _ENCODINGS:
        raise unsupported_encoding()
    content_type = request.headers.get("content-type", _JSON)
    if content_type != _JSON and (media_type := request.content_type.lower()) != _JSON:
        raise BadRequest(
            f"Send the body as JSON with content-type: {_JSON}, not {media_type}.",
            status=415,
            code="unsupported_content_type",
            legacy="Invalid content type passed",
        )
    return await _read_bytes(request, memory)


def unsupported_encoding() -> BadRequest:
    """Return the error for a body whose content encoding cannot be undone."""
    error = BadRequest(
        "The content-encoding of the body is not supported. Send it as it is, or compressed once "
        "with gzip or deflate.",
        status=415,
        code="unsupported_content_encoding",
        param="content-encoding",
    )
    error.headers = {"Connection": "close", "Accept-Encoding": "gzip, deflate"}
    return error


async def parse_params(
    raw: bytes, json_headers: bytes, reservation: BodyReservation, limits: Limits
) -> tuple[bytes, dict[str, Any]]:
    """Parse the JSON object of an image request; return it serialized again, and as a dict.

    `json_headers` are the headers that hold JSON. Their values are counted with those of the body,
    and reserved as the memory that all of them will take, before anything is parsed.
    """
    values = count_values(json_headers, limits.values) if json_headers else 0
    if len(raw) <= _PARSE_IN_THREAD_ABOVE:
        values += count_values(raw, limits.values)
        _reserve_values(reservation, len(raw) + len(json_headers), values, limits)
        return read_params(raw, limits)
    values += await asyncio.to_thread(count_values, raw, limits.values)
    _reserve_values(reservation, len(raw) + len(json_headers), values, limits)
    return await asyncio.to_thread(read_params, raw, limits)


def _reserve_values(reservation: BodyReservation, size: int, values: int, limits: Limits) -> None:
    if values > limits.values:
        raise BadRequest(
            f"The request holds more than {limits.values} JSON values in its body, "
            "x-portkey-metadata and x-portkey-config together (`limits.values`). Send fewer.",
            status=413,
            code="request_too_large",
        )
    reservation.grow(size + values * VALUE_BYTES)


def read_params(raw: bytes, limits: Limits) -> tuple[bytes, dict[str, Any]]:
    """Parse the JSON object of an image request whose values have been counted."""
    try:
        params = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadRequest(f"The body is not valid JSON ({place}).", code="invalid_json") from None
    if not isinstance(params, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    if len(params) > limits.params:
        raise BadRequest(
            f"The body has {len(params)} parameters; the limit is {limits.params} "
            "(`limits.params`).",
            status=413,
            code="request_too_large",
        )
    if exceeds_depth(params, DEPTH_LIMIT):
        raise BadRequest(
            f"The body is nested more than {DEPTH_LIMIT} levels deep.", code="invalid_json"
        )
    if (long := name_of_long_integer(raw)) is not None:
        raise BadParam(
            long,
            f"'{long}' has a whole number beyond 64 bits, which would be rounded. Send a smaller "
            "one.",
            code="integer_too_large",
        )
    params.update(whole_numbers(params))
    # Not the original bytes: for a duplicate key a provider might use the other value, and make an
    # image that does not match the cache key, the conditions and the overrides.
    return orjson.dumps(params), params


def whole_numbers(params: Mapping[str, Any]) -> dict[str, float]:
    """Return the parameters that are whole numbers but are written `2.0`, as `2`.

    >>> whole_numbers({"n": 2.0, "strength": 1.0})
    {'n': 2}
    """
    return {name: as_whole(it) for name in _INTEGERS if isinstance(it := params.get(name), float)}


def name_of_long_integer(raw: bytes) -> str | None:
    """Return the key of a JSON object whose value has a whole number beyond 64 bits.

    The text is known to be an object of limited depth.

    >>> name_of_long_integer(b'{"a": 1, "b": [123456789012345678901]}')
    'b'
    """
    if not _LONG_INTEGER.search(raw):
        return None
    return next((name for name, it in json.loads(raw).items() if _has_long_integer(it)), None)


def _has_long_integer(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_long_integer, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not _MIN_INTEGER <= value <= _MAX_INTEGER


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
    if raw:
        _check_ratio(request, memory, len(raw))
    return raw, _reserve(memory, len(raw)) if len(raw) > RESERVE_ABOVE else None


async def _read_chunks(
    request: web.Request, memory: BodyMemory
) -> tuple[bytes, BodyReservation | None]:
    """Read a body chunk by chunk, decompressed by aiohttp; check every limit after each chunk."""
    raw, reservation = bytearray(), None
    while chunk := await request.content.readany():
        raw += chunk
        if 0 < request.client_max_size < len(raw):
            raise web.HTTPRequestEntityTooLarge(request.client_max_size)
        _check_ratio(request, memory, len(raw))
        if len(raw) > RESERVE_ABOVE:
            reservation = _reserve(memory, len(raw), reservation)
    return bytes(raw), reservation


def _check_ratio(request: web.Request, memory: BodyMemory, size: int) -> None:
    """Raise `BadRequest` if `size` bytes were decompressed from too few."""
    if size > request.content.total_raw_bytes * memory.max_ratio:
        raise BadRequest(
            f"The body is more than {memory.max_ratio} times as large as it was compressed.",
            status=413,
            code="request_too_large",
        )


def _reserve(
    memory: BodyMemory, size: int, reservation: BodyReservation | None = None
) -> BodyReservation:
    """Reserve memory for a large body, of which `size` bytes have arrived so far."""
    reservation = reservation or BodyReservation(memory)
    reservation.grow(size)
    return reservation


def enforce_limits(params: Mapping[str, Any], limits: Limits) -> None:
    """Raise `BadParam` if the number of images or the prompt exceeds the limits.

    Types come first, for every provider: one that takes `"50"` for 50 would make 50 images.
    """
    for name in _WHOLE_NUMBERS:
        if name in params and not _is_whole_number(params[name]):
            raise BadParam(name, f"'{name}' must be a whole number.", code="invalid_type")
    if not isinstance(params.get("stream", False), bool | None):
        raise BadParam("stream", "'stream' must be true or false.", code="invalid_type")
    n, prompt = params.get("n"), params.get("prompt")
    if n is not None and n > limits.images:
        raise BadParam("n", f"'n' is {n}; the limit is {limits.images}.")
    if isinstance(prompt, str) and len(prompt) > limits.prompt_characters:
        raise BadParam(
            "prompt",
            f"'prompt' has {len(prompt)} characters; the limit is {limits.prompt_characters}.",
        )


def _is_whole_number(value: Any) -> bool:
    """Whether a parameter is null or a whole number; 1.0 is one, true is not.

    >>> [_is_whole_number(value) for value in (None, 2, 2.0, 2.5, "2", True, [2])]
    [True, True, True, False, False, False, False]
    """
    if isinstance(value, float):
        return value.is_integer()
    return value is None or (isinstance(value, int) and not isinstance(value, bool))
