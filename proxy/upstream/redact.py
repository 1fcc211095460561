"""Redaction: the credentials that a provider was sent, removed from what it answers.

A provider may repeat a key in an error message, an event or a header. The invariant: no byte that
goes to a client, and no line of a log, holds one of the target's secrets.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

ERROR_LIMIT = 1024 * 1024
"""Largest error reply that is read, in bytes. What is larger is no error, and is not redacted."""


def redact_text(text: str, secrets: frozenset[str]) -> str:
    """Return a text with each of the secrets replaced by `***`."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def redact(body: bytes, secrets: frozenset[str]) -> bytes:
    """Return a body without the secrets, if it may be an error (at most `ERROR_LIMIT` bytes)."""
    if len(body) <= ERROR_LIMIT:
        for secret in secrets:
            body = body.replace(secret.encode(), b"***")
    return body


async def redact_stream(
    chunks: AsyncIterator[bytes], secrets: frozenset[str]
) -> AsyncGenerator[bytes, None]:
    """Yield a stream without the secrets; the start of a possible secret waits for the next chunk.

    Each byte of a secret becomes a `*`, so that the announced length stays right. A chunk without a
    secret is passed on as the same object.
    """
    patterns = [secret.encode() for secret in secrets]
    pending = b""
    async for chunk in chunks:
        text = pending + chunk if pending else chunk
        for secret in patterns:
            text = text.replace(secret, b"*" * len(secret))
        size = max((_partial_match_length(text, secret) for secret in patterns), default=0)
        text, pending = (text[:-size], text[-size:]) if size else (text, b"")
        if text:
            yield text
        del chunk, text  # They may be large, and the next chunk may take long to arrive.
    if pending:
        yield pending


def _partial_match_length(text: bytes, secret: bytes) -> int:
    """Return how many bytes at the end of a text are the beginning of a secret."""
    sizes = range(min(len(secret) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(secret[:size])), 0)
