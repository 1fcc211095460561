"""Parsers of the client's request headers; each raises `BadRequest` that names its header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from adapters.table.table import Policy
from proxy.errors import BadRequest
from proxy.http.body import DEPTH_LIMIT, is_deeper
from proxy.settings.routing_config import MAX_KEEPALIVE

_TRUE, _FALSE = ("true",), ("false", "")
_POLICIES = tuple(policy.value for policy in Policy)
_TRACE_LIMIT = 512


def bearer(headers: Mapping[str, str]) -> str:
    """Return the token of `Authorization: Bearer`, "" if there is none.

    >>> bearer({"authorization": "bearer  sk-1 "}), bearer({"authorization": "Basic dTpw"})
    ('sk-1', '')
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


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
