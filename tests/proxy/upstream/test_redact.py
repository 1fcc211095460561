"""Redaction: secrets are removed from texts, bodies and streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.redact import redact_stream


@given(st.lists(st.integers(1, 40), min_size=1))
async def test_a_secret_is_redacted_wherever_chunks_split_it(sizes: list[int]) -> None:
    text = b"data: sk-sk-secret, sk-secre sk-secretsk-sec\n\nsk-secret sk-"
    sizes = [*sizes, len(text)]

    async def cut() -> AsyncGenerator[bytes, None]:
        rest = text
        for size in sizes:
            yield rest[:size]
            rest = rest[size:]

    redacted = b"".join([it async for it in redact_stream(cut(), frozenset({"sk-secret"}))])
    assert redacted == text.replace(b"sk-secret", b"*********")


async def test_a_chunk_without_a_secret_is_passed_on_uncopied() -> None:
    piece = b"data: {}\n\n" * 9

    async def whole() -> AsyncGenerator[bytes, None]:
        yield piece

    [same] = [it async for it in redact_stream(whole(), frozenset({"sk-secret"}))]
    assert same is piece
