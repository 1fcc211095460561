"""Parsers of untrusted input accept any bytes; `make fuzz` runs the same targets for longer."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import run_random
from tests.fuzz.fuzz_input import FuzzInput
from tests.fuzz.targets import TARGETS, Target, compressed_body

every_target = pytest.mark.parametrize("target", TARGETS, ids=lambda it: it.__name__)


@every_target
def test_any_bytes_are_taken(target: Target) -> None:
    assert run_random(target, 0.3) > 0


@every_target
def test_any_bytes_that_shrink_are_taken(target: Target) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(data=st.binary(max_size=300))
    def taken(data: bytes) -> None:
        target(data)

    taken()


def test_a_bomb_is_taken() -> None:
    compressed_body(gzip.compress(bytes(10_000_000)))


def test_a_finding_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(data: bytes) -> None:
        raise ValueError(data)

    with pytest.raises(ValueError, match="b"):
        run_random(broken, 1)
    assert "broken fails for b" in capsys.readouterr().err


def test_used_up_bytes_are_the_first_of_all_choices() -> None:
    source = FuzzInput(b"")
    assert (source.number(9), source.choose("ab"), source.tree(), source.rest()) == (
        0,
        "a",
        None,
        b"",
    )
