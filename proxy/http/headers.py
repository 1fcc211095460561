"""Parsers of the client's request headers; each raises `BadRequest` that names its header."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from adapters.table.table import UnsupportedPolicy
from proxy.errors import BadRequest
from proxy.http.body import DEPTH_LIMIT, name_of_long_integer
from proxy.http.input_budget import exceeds_depth
from proxy.settings.routing_config import MAX_KEEPALIVE_SECONDS
from proxy.settings.suggest import did_you_mean, quoted

_TRUE, _FALSE = ("true",), ("false", "")
_POLICIES = tuple(policy.value for policy in UnsupportedPolicy)
_MAX_ID_LENGTH = 512
MAX_NAMESPACE_LENGTH = 256
"""Longest cache namespace, in characters: every cache entry holds its own."""
_ESSENTIAL = frozenset({"content-type", "content-length", "content-encoding"})
_MAX_ESSENTIAL_BYTES = 512
_HEADER_OVERHEAD = 64
"""Bytes that a header takes in addition to its text."""


EASEL_HEADERS = ("x-easel-dry-run", "x-easel-keepalive", "x-easel-unsupported")
"""Easel's own request headers."""
_MEANT_FOR_EASEL = re.compile(r"x[-_]easel|easel[-_]|.*dry[-_]?run", re.IGNORECASE)
"""Names that can only mean a header of Easel's own, however they are spelled."""


def check_easel_headers(headers: Mapping[str, str]) -> None:
    """Raise `BadRequest` for an unknown header of Easel's own, and for one with two values.

    A misspelled dry run would buy an image, and so would a `true` beside a `false`.
    """
    names = "\n".join(headers).lower()
    if "easel" not in names and "dry" not in names:
        return
    seen = set[str]()
    # Iterating over the headers themselves would leave out a name's second line.
    for lower in (name.lower() for name, _ in headers.items() if _MEANT_FOR_EASEL.match(name)):
        if lower not in EASEL_HEADERS:
            hint = did_you_mean(lower.replace("_", "-"), EASEL_HEADERS) or "."
            message = f"Unknown header{quoted(lower)}{hint} Known: {', '.join(EASEL_HEADERS)}."
        elif lower in seen:
            message = f"The header {lower} is given twice. Send it once."
        else:
            seen.add(lower)
            continue
        raise BadRequest(message, code="invalid_header", param=lower[:64])


def drop_longest(headers: Iterable[tuple[str, str]], limit: int) -> list[tuple[str, str]]:
    """Return headers of at most `limit` bytes, in order; the longest ones are dropped first.

    Those that describe the body are dropped last.

    >>> drop_longest([("a", "1"), ("b", "x" * 99), ("c", "2")], 200)
    [('a', '1'), ('c', '2')]
    """
    kept = list(headers)
    sizes = [header_size(name, value) for name, value in kept]
    if (excess := sum(sizes) - limit) <= 0:
        return kept
    dropped = set[int]()

    def rank(index: int) -> tuple[bool, int, int]:
        essential = kept[index][0].lower() in _ESSENTIAL and sizes[index] <= _MAX_ESSENTIAL_BYTES
        return essential, -sizes[index], -index

    for index in sorted(range(len(kept)), key=rank):
        if excess <= 0:
            break
        dropped.add(index)
        excess -= sizes[index]
    return [it for index, it in enumerate(kept) if index not in dropped]


def header_size(name: str, value: str) -> int:
    """Return the bytes of a header, with what it takes to hold it.

    >>> header_size("vary", "accept")
    74
    """
    length = len(name) + len(value)
    if not value.isascii():
        length += 3 * len(value)
    return length + _HEADER_OVERHEAD


def bearer(headers: Mapping[str, str]) -> str:
    """Return the token of `Authorization: Bearer`, "" if there is none.

    >>> bearer({"authorization": "bearer  sk-1 "}), bearer({"authorization": "Basic dTpw"})
    ('sk-1', '')
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def basic_password(headers: Mapping[str, str]) -> str:
    """Return the password of `Authorization: Basic`, "" if there is none.

    >>> basic_password({"authorization": "Basic dTpw"}), basic_password({"authorization": "Basic"})
    ('p', '')
    """
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except ValueError:
        return ""
    return pair.partition(":")[2]


def read_text(headers: Mapping[str, str], name: str) -> str:
    """Return the text of a header; raise `BadRequest` if it is not printable."""
    text = headers.get(name, "")
    if text.isprintable():
        return text
    raise BadRequest(f"{name} must be printable text.", code="invalid_header", param=name)


def read_namespace(headers: Mapping[str, str]) -> str:
    """Parse `x-portkey-cache-namespace`; "" if absent."""
    name = "x-portkey-cache-namespace"
    namespace = read_text(headers, name) if name in headers else ""
    if len(namespace) > MAX_NAMESPACE_LENGTH:
        raise BadRequest(
            f"{name} must be at most {MAX_NAMESPACE_LENGTH} characters.",
            code="invalid_header",
            param=name,
        )
    return namespace


def read_metadata(headers: Mapping[str, str]) -> dict[str, Any]:
    """Parse `x-portkey-metadata`, a JSON object."""
    text = headers.get("x-portkey-metadata", "")
    if not text:
        return {}
    try:
        metadata = orjson.loads(text)
    except orjson.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict) or exceeds_depth(metadata, DEPTH_LIMIT):
        raise BadRequest(
            'x-portkey-metadata must be a JSON object, such as {"_user": "u1"}.',
            code="invalid_header",
            param="x-portkey-metadata",
        )
    if (name := name_of_long_integer(text.encode())) is not None:
        raise BadRequest(
            f"x-portkey-metadata{quoted(name)} has a whole number beyond 64 bits, which would be "
            "rounded. Send it in quotes.",
            code="integer_too_large",
            param="x-portkey-metadata",
        )
    return metadata


def json_headers(headers: Mapping[str, str]) -> bytes:
    """Return the text of the headers that hold JSON: metadata and an inline config."""
    text = headers.get("x-portkey-metadata", "")
    config = headers.get("x-portkey-config", "")
    if config.lstrip().startswith("{"):
        text = f"{text},{config}"
    return text.encode("utf-8", "surrogateescape")


def read_flag(headers: Mapping[str, str], name: str) -> bool:
    """Parse a header that is `true` or `false`, in any case."""
    text = headers.get(name, "").strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise BadRequest(f"{name} must be true or false.", code="invalid_header", param=name)


def read_policy(headers: Mapping[str, str]) -> UnsupportedPolicy | None:
    """Parse `x-easel-unsupported`, the policy for parameters that a provider does not support."""
    text = headers.get("x-easel-unsupported", "").strip().lower()
    if not text:
        return None
    if text in _POLICIES:
        return UnsupportedPolicy(text)
    raise BadRequest(
        f"x-easel-unsupported must be one of {', '.join(_POLICIES)}.",
        code="invalid_header",
        param="x-easel-unsupported",
    )


def read_milliseconds(headers: Mapping[str, str], name: str, maximum: int) -> float | None:
    """Parse a header that holds a whole number of milliseconds; return seconds, None if absent."""
    text = headers.get(name, "").strip()
    if not text:
        return None
    if re.fullmatch("[0-9]{1,12}", text) and 1 <= int(text) <= maximum:
        return int(text) / 1000
    raise BadRequest(
        f"{name} must be a whole number of milliseconds, 1 to {maximum}.",
        code="invalid_header",
        param=name,
    )


def read_keepalive(headers: Mapping[str, str]) -> int | None:
    """Parse `x-easel-keepalive`: whole seconds, 0 to switch it off, None if absent."""
    text = headers.get("x-easel-keepalive", "").strip()
    if not text:
        return None
    if re.fullmatch("[0-9]{1,3}", text) and int(text) <= MAX_KEEPALIVE_SECONDS:
        return int(text)
    raise BadRequest(
        f"x-easel-keepalive must be a whole number of seconds, 1 to {MAX_KEEPALIVE_SECONDS}, or 0.",
        code="invalid_header",
        param="x-easel-keepalive",
    )


def read_idempotency_key(headers: Mapping[str, str]) -> str:
    """Parse `Idempotency-Key`, the client's own name for a request; "" if absent."""
    key = headers.get("idempotency-key", "").strip()
    if len(key) <= _MAX_ID_LENGTH and key.isascii() and (not key or key.isprintable()):
        return key
    raise BadRequest(
        f"Idempotency-Key must be printable ASCII, at most {_MAX_ID_LENGTH} characters.",
        code="invalid_header",
        param="Idempotency-Key",
    )


def prefers_async(headers: Mapping[str, str]) -> bool:
    """Return whether `Prefer: respond-async` asks for a job instead of the image (RFC 7240)."""
    if "prefer" not in headers:
        return False
    preferences = headers["prefer"].lower().split(",")
    return any(it.partition(";")[0].strip() == "respond-async" for it in preferences)


def no_store(headers: Mapping[str, str]) -> bool:
    """Return whether `x-portkey-debug: false` asks that nothing of the request be stored."""
    return headers.get("x-portkey-debug", "").lower() == "false"


def is_valid_trace_id(text: str) -> bool:
    """Return whether a trace id can be echoed: printable ASCII, 1 to 512 characters."""
    return 0 < len(text) <= _MAX_ID_LENGTH and text.isascii() and text.isprintable()
