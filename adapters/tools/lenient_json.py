r"""Parses JSON as providers send it: strictly first, and a second time with four faults repaired.

    fault                             becomes
    a UTF-8 byte order mark           nothing
    NaN, Infinity, -Infinity          null
    half of a surrogate pair (\ud83d) \ufffd, the replacement character
    bytes that are not UTF-8          U+FFFD, the replacement character

Everything else that is not JSON stays an error: truncated text, trailing text, single quotes,
comments. The repaired text goes through the same strict parser, so nothing else can pass.

>>> read_json(b'\xef\xbb\xbf{"words": "a cube \\ud83d", "is_changed": [NaN]}')
({'words': 'a cube �', 'is_changed': [None]}, b'{"words": "a cube \\ufffd", "is_changed": [null]}')
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

import orjson

_MAX_MARKS = 1_000_000
"""Most quotes, backslashes and constants of a text that is repaired: a bound on the steps."""
_PIECE = 256 * 1024
"""Bytes that are decoded at a time: a long text is never held as characters."""

_LONG_STRING = 4096
_CONSTANTS = (b"NaN", b"Infinity")
_MARKS = (b'"', b"\\", *_CONSTANTS)
# Possessive: a text without constants is searched once, from its beginning to its end.
_UP_TO_CONSTANT = re.compile(
    rb'((?:[^"NI]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+)(?:NaN|Infinity)', re.DOTALL
)
_CONSTANT = re.compile(rb"[\[:,]\s*-?(?:NaN|Infinity)")
"""A constant where a value begins: none of these marks is in base64."""
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_HEX = rb"[0-9a-fA-F]"
# Every escape is matched, so that none is mistaken for the middle of another.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}|(u[dD][89a-fA-F]%b{2})|.)" % (_HEX, _HEX, _HEX),
    re.DOTALL,
)


def read_json(body: bytes) -> tuple[Any, bytes]:
    """Return parsed JSON and its text, repaired if it had to be; None and the body if it is none.

    A text of megabytes with a fault takes some milliseconds: parse it outside of the event loop.
    """
    try:
        return orjson.loads(body), body
    except orjson.JSONDecodeError:
        repaired = _repair(body)
    if repaired == body:
        return None, body
    try:
        return orjson.loads(repaired), repaired
    except orjson.JSONDecodeError:
        return None, body


def has_faults(start: bytes) -> bool:
    r"""Return whether the start of a JSON text has a fault that clients' parsers do not forgive.

    >>> [has_faults(it) for it in (b'{"a":[-Infinity', b'{"b64_json":"ANaNA', b"\xef\xbb\xbf{")]
    [True, False, True]
    """
    if start.startswith(codecs.BOM_UTF8):
        return True
    # Base64 is left out: it is most of the text, and holds no constant.
    text = b'"'.join(it for it in start.split(b'"') if len(it) < _LONG_STRING)
    return any(it in text for it in _CONSTANTS) and _CONSTANT.search(text) is not None


def _repair(body: bytes) -> bytes:
    """Return a text without the faults, or unchanged if it is no object or list, or too long."""
    text = body.removeprefix(codecs.BOM_UTF8)
    if not text.lstrip().startswith((b"{", b"[")):
        return body
    if sum(map(text.count, _MARKS)) > _MAX_MARKS:
        return body
    if any(name in text for name in _CONSTANTS):
        text = b"".join(_without_constants(text))
    if _HALF_PAIR.search(text):
        text = _ESCAPE.sub(_whole_escape, text)
    return b"".join(_valid_utf8(text))


def _without_constants(text: bytes) -> Iterator[bytes]:
    """Yield the parts of a text, with null for each constant outside of strings."""
    at = 0
    while found := _UP_TO_CONSTANT.match(text, at):
        yield found[1].removesuffix(b"-") if found[0].endswith(b"Infinity") else found[1]
        yield b"null"
        at = found.end()
    yield text[at:]


def _whole_escape(found: re.Match[bytes]) -> bytes:
    """Return an escape, or the replacement character for half of a surrogate pair."""
    return rb"\ufffd" if found[1] else found[0]


def _valid_utf8(text: bytes) -> Iterator[bytes]:
    """Yield a text in pieces, with the replacement character for bytes that are not UTF-8."""
    pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    for piece in codecs.iterdecode(pieces, "utf-8", "replace"):
        yield piece.encode()
