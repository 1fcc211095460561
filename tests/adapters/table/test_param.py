"""A row of a table: what is legal in it, and what it makes of a value."""

from __future__ import annotations

import pytest

from adapters.errors import BadParam
from adapters.table.param import Approximation, Param, convert_value, validate


def test_a_row_can_be_the_rule() -> None:
    with pytest.raises(BadParam, match="of the form"):
        validate("ratio", "wide", Param("ratio", pattern=r"\d+:\d+"))


def test_what_nobody_knows_may_be_anything() -> None:
    validate("never-heard-of-it", object())


def test_a_legal_value_out_of_reach_becomes_the_nearest() -> None:
    row = Param("output_compression", "quality", low=20, high=90)
    assert convert_value(row, 50, 1) == {"quality": 50}
    far = convert_value(row, 100, 1)
    assert (far, type(far)) == ({"quality": 90}, Approximation)


def test_what_a_provider_has_no_word_for_makes_no_field() -> None:
    assert convert_value(Param("style", convert={"vivid": "bold"}), "natural", 1) == {}
