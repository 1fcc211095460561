"""Case 22: a gateway key is guessed letter by letter, by how long a refusal takes."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from proxy.context import SETTINGS
from tests.support.gateway import KEY, OTHER_KEY, gateway

GUESSES = ("", "x", KEY[:-1], KEY + "x", KEY.swapcase(), " " + KEY[1:], "k" * 10_000)


async def test_no_key_itself_is_held_or_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[Any, Any]] = []

    compare = hmac.compare_digest

    def noted(one: bytes, two: bytes) -> bool:
        compared.append((one, two))
        return compare(one, two)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    async with gateway() as ours:
        for guess in GUESSES[1:]:
            assert (await ours.ask(method="GET", path="/v1/models", api_key=guess)).status == 401
        assert (await ours.ask(method="GET", path="/v1/models")).status == 200
        held = ours.app[SETTINGS].api_keys
        assert set(held) == {hashlib.sha256(it.encode()).digest() for it in (KEY, OTHER_KEY)}
        assert KEY not in repr(ours.app[SETTINGS])
    # As many comparisons for a wrong key as for a good one, of one length.
    assert len(compared) == len(GUESSES)
    assert {len(it) for pair in compared for it in pair} == {32}


async def test_every_wrong_key_gets_the_same_answer() -> None:
    async with gateway() as ours:
        answers = [
            await ours.ask(method="GET", path="/v1/models", api_key=guess) for guess in GUESSES[1:]
        ]
        assert {(it.status, it.body) for it in answers} == {(401, answers[0].body)}
