"""Redaction: the credentials that a provider was sent, removed from what it answers.

A provider may repeat a key in an error message, an event or a header. The invariant: no byte that
goes to a client, and no line of a log, holds one of the target's secrets.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from functools import lru_cache

_PREFIX = 8
"""Bytes by which the beginning of a secret is found at the end of a chunk."""
_MAX_COMPARED = 64
"""Places at the end of a chunk that are compared with the whole of a secret."""
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
ERROR_LIMIT = 1024 * 1024
"""Largest error reply that is read, in bytes. What is larger is no error."""


def redact_text(text: str, secrets: frozenset[str]) -> str:
    """Return a text with each of the secrets replaced by `***`."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def redact(body: bytes, secrets: frozenset[str]) -> bytes:
    """Return a body without the secrets; above `ERROR_LIMIT` bytes, only those without escapes."""
    for secret in secrets:
        body = body.replace(secret.encode(), b"***")
    # A null byte is never in JSON, and nearly always in an image.
    if secrets and len(body) <= ERROR_LIMIT and b"\\" in body and b"\0" not in body:
        body = _redact_escaped(body, secrets)
    return body


_ESCAPED = re.compile(rb"\\u00[0-7][0-9a-fA-F]|\\/")


_TOKEN = re.compile(rb'\\u00[0-7][0-9a-fA-F]|\\["\\/]|.', re.DOTALL)
_CUT_ESCAPE = re.compile(rb"\\(?:u(?:0(?:0[0-7]?)?)?)?\Z")
_LONGEST_ESCAPE = 6
"""Bytes of an escape such as `\\u002b`."""


def _redact_escaped(body: bytes, secrets: frozenset[str]) -> bytes:
    r"""Return JSON without the secrets in which characters are escaped, as in `sk-a\u002bb`.

    >>> _redact_escaped(rb'{"message": "no: sk-a\u002Bb"}', frozenset({"sk-a+b"}))
    b'{"message": "no: ***"}'
    """
    if not _ESCAPED.search(body):
        return body
    for secret in secrets:
        body = _escaped_pattern(secret).sub(b"***", body)
    return body


@lru_cache(256)
def _escaped_pattern(secret: str) -> re.Pattern[bytes]:
    """Return a pattern for a secret with any of its characters escaped as JSON allows."""
    return re.compile(b"".join(map(_escaped_byte, secret.encode())))


def _escaped_byte(byte: int) -> bytes:
    plain, code = re.escape(bytes([byte])), b"%02x" % byte
    digits = b"".join(b"[%b%b]" % (it, it.upper()) for it in (code[:1], code[1:]))
    short = rb"|\\" + plain if byte in b'/"\\' else b""
    return rb"(?:%b|\\u00%b%b)" % (plain, digits, short)


async def redact_stream(
    chunks: AsyncIterator[bytes], secrets: frozenset[str]
) -> AsyncGenerator[bytes, None]:
    """Yield a stream without the secrets; the start of a possible secret waits for the next chunk.

    Each byte of a secret becomes a `*`, so that the announced length stays right. A chunk without a
    secret is passed on as the same object.
    """
    patterns = [secret.encode() for secret in secrets]
    marked = [(_byte_unlike_base64(it), it, b"*" * len(it)) for it in patterns]
    pending = b""
    async for chunk in chunks:
        text = pending + chunk if pending else chunk
        for byte, secret, stars in marked:
            # To search for one byte takes a quarter of the time, and images have none of these.
            if byte in text:
                text = text.replace(secret, stars)
        if b"\\" in text:
            for escaped in map(_escaped_pattern, secrets):
                text = escaped.sub(_stars, text)
        size = max((_held_back(text, secret) for secret in patterns), default=0)
        text, pending = (text[:-size], text[-size:]) if size else (text, b"")
        if text:
            yield text
        del chunk, text  # They may be large, and the next chunk may take long to arrive.
    if pending:
        yield pending


def _byte_unlike_base64(secret: bytes) -> bytes:
    """Return a byte of a secret that base64 text does not have; empty (in any text) if none.

    >>> _byte_unlike_base64(b"sk-a"), _byte_unlike_base64(b"r8a")
    (b'-', b'')
    """
    return secret.translate(None, _BASE64)[:1]


def _stars(found: re.Match[bytes]) -> bytes:
    return b"*" * len(found[0])


def _held_back(text: bytes, secret: bytes) -> int:
    """Return how many bytes at the end of a text may begin a secret, with escapes or without."""
    tail = text[-_LONGEST_ESCAPE * len(secret) :]
    if b"\\" not in tail:
        return _partial_match_length(text, secret)
    cut = _CUT_ESCAPE.search(tail)
    whole = tail[: cut.start()] if cut else tail
    tokens = _TOKEN.findall(whole)
    size = _partial_match_length(b"".join(map(_unescape, tokens)), secret)
    return len(tail) - len(whole) + (sum(map(len, tokens[-size:])) if size else 0)


def _unescape(token: bytes) -> bytes:
    """Return the one byte that a token of JSON text stands for."""
    return bytes.fromhex(token[-2:].decode()) if len(token) == _LONGEST_ESCAPE else token[-1:]


def _partial_match_length(text: bytes, secret: bytes) -> int:
    """Return how many bytes at the end of a text are the beginning of a secret.

    It looks for the first bytes of the secret, so that the work does not grow with its length.
    """
    start, end = secret[:_PREFIX], text[-len(secret) + 1 :] if len(secret) > 1 else b""
    first = at = end.find(start)
    for _ in range(_MAX_COMPARED):
        if at < 0:
            break
        if secret.startswith(end[at:]):
            return len(end) - at
        at = end.find(start, at + 1)
    if at >= 0:  # To hold back too much is safe.
        return len(end) - first
    sizes = range(min(_PREFIX - 1, len(end)), 0, -1)
    return next((size for size in sizes if end.endswith(secret[:size])), 0)
