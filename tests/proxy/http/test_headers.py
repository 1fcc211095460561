"""Parsers of request headers."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.table.table import UnsupportedPolicy
from proxy.errors import BadRequest
from proxy.http.headers import (
    is_valid_trace_id,
    read_flag,
    read_metadata,
    read_milliseconds,
    read_policy,
)

NAME = "x-portkey-request-timeout"


@pytest.mark.parametrize(("text", "seconds"), [("1", 0.001), ("300000", 300), (" 50 ", 0.05)])
def test_milliseconds_become_seconds(text: str, seconds: float) -> None:
    assert read_milliseconds({NAME: text}, NAME, 3_600_000) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "abc", "9" * 5000, "٣", "3600001"])  # noqa: RUF001 - a digit that is not ASCII
def test_an_invalid_number_of_milliseconds_names_its_header(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_milliseconds({NAME: text}, NAME, 3_600_000)
    assert refused.value.param == NAME


@pytest.mark.parametrize(
    ("text", "meant"), [("true", True), ("True", True), ("false", False), ("", False)]
)
def test_a_flag_is_true_or_false_in_any_case(text: str, meant: bool) -> None:  # noqa: FBT001 - a case's value
    assert read_flag({"x": text}, "x") is meant


@pytest.mark.parametrize("text", ["yes", "1", "truee"])
def test_any_other_flag_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        read_flag({"x": text}, "x")


@given(st.text())
def test_metadata_that_is_not_an_object_is_refused(text: str) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(read_metadata({"x-portkey-metadata": text}), dict)


def test_a_policy_is_one_of_three_or_absent() -> None:
    assert read_policy({}) is None
    assert read_policy({"x-easel-unsupported": "pass"}) is UnsupportedPolicy.PASS
    assert read_policy({"x-easel-unsupported": "Strict"}) is UnsupportedPolicy.STRICT
    with pytest.raises(BadRequest):
        read_policy({"x-easel-unsupported": "ignore"})


@pytest.mark.parametrize("text", ["", "a\nb", "é", "x" * 513])
def test_a_trace_id_that_is_unsafe_in_a_header_is_invalid(text: str) -> None:
    assert not is_valid_trace_id(text)
