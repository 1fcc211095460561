"""A provider's own words in an error reply, whatever its shape. Everything here is bounded.

`describe` reads JSON, `describe_body` plain text, HTML and XML.

>>> describe({"prompt": ["is too long", "is not English"]})
'prompt: is too long; is not English'
>>> describe_body(b"<html><title>502 Bad&nbsp;Gateway</title></html>")
'502 Bad Gateway'
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

_WORDS = (
    *("message", "msg", "detail", "details", "description", "error_description", "error_message"),
    *("errorMessage", "reason", "title", "text", "error", "errors"),
)
"""Members of an object that hold words, best first."""
_MAX_DEPTH = 6
_MAX_ITEMS = 5
"""Items of a list, or members of an object, that are described."""
_MAX_TEXT = 600
_MAX_BODY = 16 * 1024
"""Bytes of a body that are searched."""

# A page's title says what its heading does; an XML error has a message.
_ELEMENTS = re.compile(
    r"<(?:\w{1,20}:)?(message|title|h1)\b[^<>]{0,200}>([^<]{1,600})<", re.IGNORECASE
)
_RANK = {"message": 0, "title": 1, "h1": 2}


def describe(value: Any, depth: int = _MAX_DEPTH) -> str:
    """Return the words in a JSON value, at most `_MAX_TEXT` characters; "" if it has none."""
    return "" if depth == 0 else _describe(value, depth)[:_MAX_TEXT]


def _describe(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        found = (describe(it, depth - 1) for it in value[:_MAX_ITEMS])
        return "; ".join(dict.fromkeys(filter(None, found)))
    if not isinstance(value, dict):
        return ""
    known = (describe(value[name], depth - 1) for name in _WORDS if name in value)
    return next(filter(None, known), "") or "; ".join(_members(value, depth))


def _members(tree: dict[str, Any], depth: int) -> Iterator[str]:
    """Yield `name: words` for the first members of an object of unknown meaning."""
    for name in list(tree)[:_MAX_ITEMS]:
        if words := describe(tree[name], depth - 1):
            yield f"{name}: {words}"


def describe_body(body: bytes) -> str:
    """Return the words in a body that is not JSON: the text, or a page's title; "" for bytes."""
    text = body[:_MAX_BODY].decode(errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        found = sorted(_ELEMENTS.findall(text), key=lambda it: _RANK[it[0].lower()])
        text = next((words for _, words in found if words.strip()), "")
        text = html.unescape(text)
    if "\0" in text:
        return ""
    words = " ".join(text[: _MAX_TEXT * 4].split())[:_MAX_TEXT]
    return words if words.isprintable() and words != "null" else ""
