"""Parsers of untrusted input accept any bytes; `make fuzz` runs the same targets for longer."""

from __future__ import annotations

import gzip

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import run_random
from tests.fuzz.fuzz_input import FuzzInput
from tests.fuzz.targets import TARGETS, Target, check_work, compressed_body

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


WORST = {
    "body": (b'{"prompt":"p","model":"@up/m","a":[' + b"{}," * 4500 + b"0]}", b"{}", b"{}", ""),
    "metadata": (b'{"prompt":"p","model":"@up/m"}', b"{}", b'{"a":[' + b"[]," * 4500 + b"0]}", ""),
    "config": (
        b'{"prompt":"p","model":"@up/m"}',
        orjson.dumps(
            {
                "override_params": {f"k{i}": 0 for i in range(1000)},
                "targets": [{"targets": [{"override_params": {"a": 0}}] * 100}] * 4,
            }
        ),
        b"{}",
        "",
    ),
    "paths": (
        b'{"prompt":"p","model":"@up/m","a":[' + b"{}," * 4500 + b"0]}",
        orjson.dumps({"drop_params": [f"a[*].k{i}" for i in range(100)]}),
        b"{}",
        "",
    ),
    "header": (
        b'{"prompt":"p","model":"@up/m"}',
        orjson.dumps({"targets": [{"targets": [{}] * 100}] * 9}),
        b"{}",
        "x-a," * 8000,
    ),
}


@pytest.mark.parametrize("request_", WORST.values(), ids=WORST.keys())
def test_the_work_of_one_input_is_bounded(request_: tuple[bytes, bytes, bytes, str]) -> None:
    check_work(*request_)


def test_work_without_a_bound_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.settings.routing_config.MAX_DROP_PATHS", 10_000)
    monkeypatch.setattr(
        "tests.fuzz.targets.final_params",
        lambda params, leaf: [[it for it in params["a"]] for _ in leaf.drop_params],  # noqa: C416
    )
    with pytest.raises(AssertionError, match="steps for"):
        check_work(*WORST["paths"])


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
