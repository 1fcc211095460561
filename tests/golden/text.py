"""Writes a request and what came of it as text that can be reviewed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.golden.provider import Received
from tests.golden.requests import Reply

_WIDTH = 96
_BASE64 = re.compile(r'(?<=")[A-Za-z0-9+/]{60,}={0,2}(?=")')


@dataclass(frozen=True)
class Exchange:
    """A request as it was sent, its reply, and what the provider received because of it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    reply: Reply
    received: tuple[Received, ...]


def written(exchange: Exchange, line: str) -> str:
    """Return all of one request: sent, answered, logged, and what the provider received."""
    it, reply = exchange, exchange.reply
    status = f"{reply.status} {reply.reason}"
    parts = [
        _message(f"{it.method} {it.path}", it.headers.items(), it.body),
        "--- response ---\n" + _message(status, reply.headers, reply.body),
        "--- access line ---\n" + _tree(json.loads(line)),
    ]
    for got in it.received:
        message = _message(f"{got.method} {got.path}", got.headers, got.body)
        parts.append("--- received by the provider ---\n" + message)
    return "\n\n".join(parts) + "\n"


def _message(first: str, headers: Iterable[tuple[str, str]], body: bytes) -> str:
    pairs = list(headers)
    kind = next((value for name, value in pairs if name.lower() == "content-type"), "")
    lines = [first, *(f"{name}: {value}" for name, value in pairs)]
    if body:
        lines += ["", _body(kind, body)]
    return "\n".join(lines)


def _body(kind: str, body: bytes) -> str:
    if kind.startswith("image/"):
        return _digest(body)
    text = body.decode().replace("\r\n", "\n")
    if kind.startswith("application/json"):
        return _json(text)
    if kind.startswith("text/event-stream"):
        return re.sub(r"(?m)^data: (.+)$", lambda found: "data: " + _json(found[1]), text).rstrip(
            "\n"
        )
    return text.rstrip("\n")


def _json(text: str) -> str:
    try:
        return _tree(json.loads(text))
    except ValueError:
        return text


def _tree(tree: Any, indent: str = "") -> str:
    """Write a tree as JSON, on one line whatever fits there."""
    short = _shortened(json.dumps(tree, ensure_ascii=False))
    if len(indent + short) <= _WIDTH or not isinstance(tree, dict | list) or not tree:
        return short
    inner = indent + "  "
    if isinstance(tree, list):
        items = [inner + _tree(item, inner) for item in tree]
    else:
        items = [f"{inner}{json.dumps(key)}: {_tree(item, inner)}" for key, item in tree.items()]
    opens, closes = "[]" if isinstance(tree, list) else "{}"
    return f"{opens}\n" + ",\n".join(items) + f"\n{indent}{closes}"


def _shortened(text: str) -> str:
    return _BASE64.sub(lambda found: _digest(found[0].encode()), text)


def _digest(content: bytes) -> str:
    return f"<{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}>"
