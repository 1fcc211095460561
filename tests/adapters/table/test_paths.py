"""Dotted names: objects are made and added to, never taken away or written into."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.table.paths import contains, get_path, is_occupied, set_paths


def test_objects_are_made_on_the_way() -> None:
    body: dict[str, Any] = {}
    set_paths(body, {"a.b.c": 1, "a.d": 2})
    assert body == {"a": {"b": {"c": 1}, "d": 2}}


def test_an_object_is_added_to_and_left_as_it_was_itself() -> None:
    own: dict[str, Any] = {"b": {"c": 1}}
    body = {"a": own}
    set_paths(body, {"a.b": {"d": 2}, "a.e": 3})
    assert body == {"a": {"b": {"c": 1, "d": 2}, "e": 3}}
    assert own == {"b": {"c": 1}}


def test_what_is_no_object_gives_way_to_one() -> None:
    body: dict[str, Any] = {"a": "x"}
    set_paths(body, {"a.b": 1})
    assert body == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("name", "there", "taken"),
    [("a.b", 1, True), ("a.c", None, False), ("a.b.c", None, True), ("d.e", None, False)],
)
def test_a_name_is_free_where_nothing_stands_at_it_or_before_it(
    name: str, there: int | None, *, taken: bool
) -> None:
    assert (get_path({"a": {"b": 1}}, name), is_occupied({"a": {"b": 1}}, name)) == (there, taken)


def test_an_object_holds_what_it_has_and_no_other_value() -> None:
    assert contains({"a": 1, "b": {"c": 2}}, {"b": {}})
    assert not contains({"a": 1}, {"b": None})
    assert not contains({"a": 1}, 1)
