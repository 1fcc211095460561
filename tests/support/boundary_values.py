"""Values just inside and just outside of what a parameter row allows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from adapters.table.param import STANDARD_PARAMS, Param
from adapters.table.table import Table

SIZES = [
    "auto",
    *("10x10", "256x256", "512x512", "1024x1024", "1536x1024", "1024x1536", "1792x1024"),
    *("1024x1792", "2048x2048", "3840x2160", "1000x999", "3000x100", "100x3000"),
    *("99999x10", "10x99999", "99999x99999"),
]

_FIRST = settings(database=None, derandomize=True, phases=[Phase.generate])
"""The first text is as good as the shortest, which takes a second to find."""

_OF_A_KIND: dict[type, tuple[Any, ...]] = {
    str: ("a", "ä" * 20, "0"),
    int: (-3, 0, 1, 2, 7, 1_000_000),
    float: (-2.5, 0, 0.25, 1, 3.5, 1_000_000.0),
    bool: (True, False),
    dict: ({}, {"a": 1}, {"b": {"c": []}}),
    list: ([], ["a"], [1, {"a": None}]),
}


def rule(table: Table, name: str) -> Param:
    """Give the rule a value is held against: the contract's, a text's length also the row's."""
    row, ours = table.row(name), STANDARD_PARAMS.get(name)
    if row is None or ours is None:
        return ours or row or Param(name)
    if ours.kind is not str or ours.choices or ours.pattern:
        return ours
    return replace(ours, low=row.low or ours.low, high=row.high or ours.high)


def inside(rule: Param) -> list[Any]:
    """Give values that a rule allows, its bounds among them."""
    if rule.choices:
        return list(rule.choices)
    if rule.name == "size":
        return SIZES
    if rule.pattern:
        return [_match(rule.pattern)]
    bounds = [_sized(rule.kind, bound) for bound in (rule.low, rule.high) if bound is not None]
    usual = [value for value in _OF_A_KIND[rule.kind] if _within(rule, value)]
    return [*bounds, *usual]


@cache
def _match(pattern: str) -> str:
    """Return a text that matches a pattern, the same in every run."""
    return find(st.from_regex(pattern, fullmatch=True), lambda _: True, settings=_FIRST)


def outside(rule: Param) -> list[Any]:
    """Give values that a rule forbids: wrong kinds, beyond a bound, not of the list."""
    wrong: list[Any] = list(_of_other_kinds(rule.kind))
    if rule.choices:
        return [*wrong, "no-such-choice" if rule.kind is str else max(rule.choices) + 1]
    if rule.pattern and not re.fullmatch(rule.pattern, "\n"):
        wrong.append("\n")
    if rule.low is not None and (rule.low > 0 or rule.kind in (int, float)):
        wrong.append(_sized(rule.kind, rule.low - 1))
    if rule.high is not None and not rule.pattern:
        wrong.append(_sized(rule.kind, rule.high + 1))
    return wrong


def _of_other_kinds(kind: type) -> Iterator[Any]:
    """Give values of every other kind; a whole number is a number too."""
    for other, values in _OF_A_KIND.items():
        if other is not kind and not (kind is float and other is int):
            yield values[0]


def _sized(kind: type, size: float) -> Any:
    """Give a value of exactly this size: a number itself, a text or a list of this length."""
    if kind is str:
        return "x" * int(size)
    if kind is list:
        return ["x"] * int(size)
    if kind is dict:
        return {str(count): count for count in range(int(size))}
    return kind(size)


def _within(rule: Param, value: Any) -> bool:
    size = len(value) if isinstance(value, str | list | dict) else value
    return (rule.low is None or size >= rule.low) and (rule.high is None or size <= rule.high)
