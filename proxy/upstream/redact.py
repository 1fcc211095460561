"""Redaction: the credentials that a provider was sent, removed from what it answers.

A provider may repeat a key in an error message, an event or a header. The invariant: no byte that
goes to a client, and no line of a log, holds one of the target's secrets.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

ERROR_LIMIT = 1024 * 1024
"""Largest error reply that is read, in bytes. What is larger is no error, and is not redacted."""


def blotted_text(text: str, secrets: frozenset[str]) -> str:
    """Return a text with each of the secrets replaced by `***`."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def blotted(body: bytes, secrets: frozenset[str]) -> bytes:
    """Blot the secrets out of what may be an error: it is no more than `ERROR_LIMIT` bytes."""
    if len(body) <= ERROR_LIMIT:
        for secret in secrets:
            body = body.replace(secret.encode(), b"***")
    return body


async def blotted_pieces(
    pieces: AsyncIterator[bytes], secrets: frozenset[str]
) -> AsyncGenerator[bytes, None]:
    """Blot the secrets out of what comes in pieces; the end of one that may begin a secret waits.

    A piece that holds none goes on as the same object.
    """
    sought = [secret.encode() for secret in secrets]
    held = b""
    async for piece in pieces:
        text = held + piece if held else piece
        for secret in sought:
            text = text.replace(secret, b"*" * len(secret))  # its length was announced
        size = max((_begun(text, secret) for secret in sought), default=0)
        text, held = (text[:-size], text[-size:]) if size else (text, b"")
        if text:
            yield text
        del piece, text  # They may be large, and the next one be long in coming.
    if held:
        yield held


def _begun(text: bytes, secret: bytes) -> int:
    """Tell how many bytes at the end of a text are the beginning of a secret."""
    sizes = range(min(len(secret) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(secret[:size])), 0)
