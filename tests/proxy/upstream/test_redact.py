"""Redaction: secrets are removed from texts, bodies and streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.redact import _partial_match_length, redact, redact_stream


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


@given(st.lists(st.integers(1, 40), min_size=1), st.lists(st.integers(0, 2), min_size=7))
async def test_an_escaped_secret_is_redacted_wherever_chunks_split_it(
    sizes: list[int], forms: list[int]
) -> None:
    secret = "sk-a+b/c"
    escaped = "".join(
        rf"\u{ord(letter):04x}" if form == 1 else rf"\u{ord(letter):04X}" if form else letter
        for letter, form in zip(secret, forms + [1] * len(secret), strict=False)
    )
    text = rf"a \n {escaped} \u002 sk-a\u002bb {escaped}{escaped}\u00".encode()
    sizes = [*sizes, len(text)]

    async def cut() -> AsyncGenerator[bytes, None]:
        rest = text
        for size in sizes:
            yield rest[:size]
            rest = rest[size:]

    redacted = b"".join([it async for it in redact_stream(cut(), frozenset({secret}))])
    assert redacted == text.replace(escaped.encode(), b"*" * len(escaped))
    assert redact(text, frozenset({secret})) == text.replace(escaped.encode(), b"***")


async def test_the_end_of_an_event_with_escapes_is_not_held_back() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b'data: {"message": "a\\nb \\u0020"}\n\n'
        yield b"last"

    pieces = [it async for it in redact_stream(events(), frozenset({"sk-secret-of-many-letters"}))]
    assert [it[-2:] for it in pieces] == [b"\n\n", b"st"]


@pytest.mark.parametrize("letters", [bytes(range(33, 126)) * 90, b"a" * 8000 + b"b"])
def test_the_end_of_a_chunk_is_compared_with_a_long_secret_a_few_times(letters: bytes) -> None:
    class Counted(bytes):
        compared = 0

        def startswith(self, *args: object) -> bool:
            Counted.compared += 1
            return bytes(self).startswith(*args)  # type: ignore[arg-type]

    secret = Counted(letters)
    for text in (b"x" * 50_000, secret[:50], secret[:7000] + b"c"):
        assert _partial_match_length(text + secret[:5000], secret) >= 5000
    assert Counted.compared < 100


async def test_a_chunk_without_a_secret_is_passed_on_uncopied() -> None:
    piece = b"data: {}\n\n" * 9

    async def whole() -> AsyncGenerator[bytes, None]:
        yield piece

    [same] = [it async for it in redact_stream(whole(), frozenset({"sk-secret"}))]
    assert same is piece
