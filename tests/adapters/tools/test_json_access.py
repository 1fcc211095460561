"""Reading JSON of any shape without a stumble."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tools.json_access import (
    dig,
    dig_count,
    dig_list,
    dig_str,
    dig_typed,
    find_str,
    find_urls,
    parse_usage,
)

TREE = {"data": [{"url": "u", "seed": 0}, "odd"], "error": None, "ok": False}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
PATHS = st.lists(st.text(max_size=2) | st.integers(-3, 3), max_size=4)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        *(((), TREE), (("data", 0, "url"), "u"), (("data", -1), "odd"), (("ok",), False)),
        *((("data", 2), None), (("data", -3), None), (("data", "0"), None), (("error",), None)),
        *((("data", 1, "url"), None), (("error", "message"), None), ((0,), None)),
    ],
)
def test_at_follows_a_path_as_far_as_it_goes(path: tuple[str | int, ...], found: Any) -> None:
    assert dig(TREE, *path) == found


def test_falsy_values_are_found() -> None:
    assert dig(TREE, "data", 0, "seed") == 0
    assert dig_typed(TREE, "ok", kind=bool) is False


def test_a_name_is_found_however_deep_the_first_one_first() -> None:
    tree = {"a": [{"id": 7}, {"id": ""}, {"b": {"id": "x"}}], "c": {"id": "y"}}
    assert find_str(tree, "id") == "x"
    assert find_str(tree, "no") == find_str(None, "id") == ""


@given(tree=JSON)
def test_anywhere_takes_any_shape(tree: Any) -> None:
    assert isinstance(find_str(tree, ""), str)


def test_another_type_is_as_good_as_missing() -> None:
    assert dig_typed(TREE, "data", kind=dict) is None
    assert dig_str(TREE, "data") == ""
    assert dig_list(TREE, "data", 0) == []


@given(tree=JSON, path=PATHS)
def test_nothing_here_raises(tree: Any, path: list[str | int]) -> None:
    dig(tree, *path)
    assert isinstance(dig_str(tree, *path), str)
    assert isinstance(dig_list(tree, *path), list)


def test_usage_is_openais_whatever_the_provider_calls_its_tokens() -> None:
    zero = {"text_tokens": 0, "image_tokens": 0}
    assert parse_usage({"usage": {"output_tokens": 4}}, "usage") == {
        "input_tokens": 0,
        "output_tokens": 4,
        "total_tokens": 4,
        "input_tokens_details": zero,
    }
    told = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 9, "input_tokens_details": zero}
    assert parse_usage({"usage": told}, "usage") == told


@pytest.mark.parametrize("nothing", [None, {}, [], "many"])
def test_nothing_counted_is_no_usage(nothing: object) -> None:
    assert parse_usage({"usage": nothing}, "usage") is None


def test_a_count_that_is_no_number_counts_as_none() -> None:
    made = parse_usage({"usage": {"prompt_tokens": "2", "completion_tokens": True}}, "usage")
    assert made
    assert made["total_tokens"] == 0


def test_places_keep_their_order_however_deep_they_are() -> None:
    tree = {"a": [{"b": "https://p.test/1"}, 7, None], "c": "data:image/png;base64,aGk=", "d": "no"}
    assert find_urls(tree) == ["https://p.test/1", "data:image/png;base64,aGk="]


@pytest.mark.parametrize("nothing", [None, {}, [], 7, "ftp://p.test", True])
def test_what_is_no_place_is_not_collected(nothing: object) -> None:
    assert find_urls(nothing) == []


def test_usage_knows_several_words_for_tokens() -> None:
    counted = parse_usage({"u": {"num_input_text_tokens": 5, "num_output_tokens": 9}}, "u") or {}
    assert (counted["input_tokens"], counted["output_tokens"], counted["total_tokens"]) == (
        5,
        9,
        14,
    )


def test_fractional_counts_are_rounded_half_up() -> None:
    for value, count in (
        *((14417.92, 14418), (14429.92, 14430), (2.5, 3), (3.5, 4), (0.4, 0), (7, 7), (7.0, 7)),
        *((None, 0), ("7", 0), (True, 0), (1e300, 0), ([7], 0)),
    ):
        assert dig_count({"n": value}, "n") == count, value
        assert type(dig_count({"n": value}, "n")) is int, value


def test_usage_with_fractions_has_whole_counts_and_the_cost_as_it_is() -> None:
    told = {"completion_tokens": 14417.92, "prompt_tokens": 12.0, "total_tokens": 14429.92}
    details = {"text_tokens": 11.5, "image_tokens": 0.0}
    made = parse_usage({"usage": {**told, "cost": 0.25, "input_tokens_details": details}}, "usage")
    assert made == {
        "cost": 0.25,
        "input_tokens": 12,
        "output_tokens": 14418,
        "total_tokens": 14430,
        "input_tokens_details": {"text_tokens": 12, "image_tokens": 0},
    }
    assert "." not in repr({**made, "cost": 0})


def test_whole_floats_are_integers_and_integers_are_floats() -> None:
    for kind, value, found in (
        *((int, 42.0, 42), (int, 42, 42), (int, -1.0, -1), (float, 2, 2.0), (float, 0.5, 0.5)),
        *((int, 42.5, None), (int, True, None), (int, 1e300, None), (float, False, None)),
        *((int, "42", None), (float, None, None), (float, [1], None), (int, 2**64, None)),
    ):
        got = dig_typed({"n": value}, "n", kind=kind)
        assert (got, type(got)) == (found, type(found)), value
