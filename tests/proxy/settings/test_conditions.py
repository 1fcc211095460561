"""Queries: the meaning of each operator, and the limits that keep them fast."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.settings.conditions import (
    MAX_INSTRUCTIONS,
    MAX_LEVELS,
    MAX_TEXT_LENGTH,
    QueryError,
    QueryLimits,
    RequestFacts,
    compile_query,
    parse_float,
    strict_equals,
)

FACTS = RequestFacts(
    metadata={"plan": "paid", "seats": "12", "nothing": None, "beta": True, "tags": ["a"]},
    params={"model": "gpt-image-2", "n": 2, "price": "12.5px", "size": 1.0, "prompt": "a cat"},
    pathname="/v1/images/generations",
)
NESTED: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$and", "$or", "$regex", "$in", "$gt", "params.n", "metadata.plan"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


def holds(query: Any) -> bool:
    """Return whether a query holds for the facts above."""
    return compile_query(query)(FACTS)


def error_path(query: Any) -> str:
    """Return the path of a query's error."""
    with pytest.raises(QueryError) as caught:
        compile_query(query)
    return caught.value.path


@pytest.mark.parametrize(
    ("key", "wanted", "held"),
    [
        # A plain value is strictly equal.
        ("metadata.plan", "paid", True),
        ("metadata.plan", "Paid", False),
        ("params.n", 2, True),
        ("params.n", 2.0, True),
        ("params.n", "2", False),
        ("metadata.beta", True, True),
        ("metadata.beta", 1, False),
        ("metadata.nothing", None, True),
        ("url.pathname", "/v1/images/generations", True),
        # $eq and $ne are strict.
        ("params.n", {"$eq": 2}, True),
        ("params.n", {"$eq": "2"}, False),
        ("params.n", {"$ne": 2}, False),
        ("params.n", {"$ne": "2"}, True),
        # $gt and its like read numbers as parseFloat does, and hold for nothing else.
        ("params.n", {"$gt": 1}, True),
        ("params.n", {"$gt": 2}, False),
        ("params.n", {"$gte": 2}, True),
        ("params.n", {"$lt": 3}, True),
        ("params.n", {"$lte": "2"}, True),
        ("metadata.seats", {"$gt": 9}, True),
        ("params.price", {"$gt": 12, "$lt": 13}, True),
        ("metadata.plan", {"$gt": 0}, False),
        ("metadata.plan", {"$lte": 0}, False),
        ("metadata.beta", {"$gte": 1}, False),
        ("metadata.nothing", {"$lt": 1}, False),
        ("metadata.tags", {"$lt": 1}, False),
        ("params.n", {"$gt": "x"}, False),
        ("params.n", {"$lt": 10**400}, True),
        ("params.n", {"$gt": -(10**400)}, True),
        # $in and $nin are strict.
        ("metadata.plan", {"$in": ["free", "paid"]}, True),
        ("metadata.plan", {"$in": []}, False),
        ("params.n", {"$in": ["2"]}, False),
        ("metadata.tags", {"$in": ["a"]}, False),
        ("metadata.plan", {"$nin": ["free"]}, True),
        ("metadata.plan", {"$nin": ["paid"]}, False),
        # $regex is found anywhere, cases apart.
        ("params.model", {"$regex": "image"}, True),
        ("params.model", {"$regex": "^image"}, False),
        ("params.model", {"$regex": "IMAGE"}, False),
        ("params.model", {"$regex": "(?i)IMAGE"}, True),
        ("params.n", {"$regex": "^2$"}, True),
        ("params.size", {"$regex": "^1$"}, True),
        ("metadata.beta", {"$regex": "^true$"}, True),
        ("metadata.nothing", {"$regex": "^null$"}, True),
        ("metadata.tags", {"$regex": "a"}, False),
        ("url.pathname", {"$regex": "generations$"}, True),
        # Several operators all have to hold, those after $regex too.
        ("params.model", {"$regex": "^gpt", "$ne": "gpt-image-2"}, False),
        ("params.model", {"$regex": "^gpt", "$ne": "gpt-image-1"}, True),
    ],
)  # fmt: skip
def test_an_operator_means_what_is_documented(key: str, wanted: Any, held: bool) -> None:  # noqa: FBT001 - a column of the table
    assert holds({key: wanted}) is held


@pytest.mark.parametrize(
    "wanted",
    [
        "undefined", None, {"$ne": 1}, {"$nin": [1]}, {"$regex": ""}, {"$regex": "undefined"},
        {"$lt": 1}, {"$eq": None}, {"$in": [None]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["metadata.missing", "params.missing"])
def test_a_missing_key_makes_a_condition_false(key: str, wanted: Any) -> None:
    assert not holds({key: wanted})


@pytest.mark.parametrize(
    ("query", "held"),
    [
        ({"metadata.plan": "paid", "params.n": 2}, True),
        ({"metadata.plan": "paid", "params.n": 3}, False),
        ({"$and": [{"metadata.plan": "paid"}, {"params.n": 2}]}, True),
        ({"$and": [{"metadata.plan": "paid"}, {"params.n": 3}]}, False),
        ({"$or": [{"metadata.plan": "free"}, {"params.n": 2}]}, True),
        ({"$or": [{"metadata.plan": "free"}, {"params.n": 3}]}, False),
        ({"$or": [{"metadata.plan": "paid"}], "params.n": 3}, False),
        ({"$and": [{"metadata.plan": "paid"}], "params.n": 3}, False),
        ({"$and": [{"metadata.plan": "paid"}], "$or": [{"params.n": 3}]}, False),
        ({"$and": [{"$or": [{"params.n": 1}, {"params.n": 2}]}, {"metadata.beta": True}]}, True),
    ],
)
def test_conditions_combine_with_what_stands_beside_them(query: Any, held: bool) -> None:  # noqa: FBT001 - a column of the table
    assert holds(query) is held


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({}, "query"),
        ([], "query"),
        ("x", "query"),
        (None, "query"),
        ({"plan": 1}, "query.plan"),
        ({"metadata": 1}, "query.metadata"),
        ({"metadata.": 1}, "query.metadata."),
        ({"metadata.a.b": 1}, "query.metadata.a.b"),
        ({"headers.a": 1}, "query.headers.a"),
        ({"url.host": 1}, "query.url.host"),
        ({"$nor": [{}]}, "query.$nor"),
        ({"$and": {}}, "query.$and"),
        ({"$or": []}, "query.$or"),
        ({"$or": [{"params.n": 1}, {}]}, "query.$or[1]"),
        ({"params.n": {}}, "query.params.n"),
        ({"params.n": [1]}, "query.params.n.$eq"),
        ({"params.n": {"$like": 1}}, "query.params.n.$like"),
        ({"params.n": {"gt": 1}}, "query.params.n.gt"),
        ({"params.n": {"$in": 1}}, "query.params.n.$in"),
        ({"params.n": {"$in": [[1]]}}, "query.params.n.$in"),
        ({"params.n": {"$gt": {}}}, "query.params.n.$gt"),
        ({"params.n": {"$regex": 1}}, "query.params.n.$regex"),
        ({"params.n": {"$regex": "("}}, "query.params.n.$regex"),
        ({"params.n": {"$regex": "(?=a)"}}, "query.params.n.$regex"),
        ({"params.n": {"$regex": r"(a)\1"}}, "query.params.n.$regex"),
        ({"params.n": {"$regex": "\ud800"}}, "query.params.n.$regex"),
        ({"params.n": {"$regex": "a" * 1001}}, "query.params.n.$regex"),
        ({"params.n": {"$regex": "((a{100}){100}){100}"}}, "query.params.n.$regex"),
        ({"params.n": {"$regex": "([ab]?){1000}x"}}, "query.params.n.$regex"),
    ],
)
def test_a_query_that_cannot_be_used_is_refused_at_its_place(query: Any, path: str) -> None:
    assert error_path(query) == path


@given(NESTED)
def test_any_json_is_a_query_or_a_query_error(raw: Any) -> None:
    with suppress(QueryError):
        assert isinstance(compile_query(raw)(FACTS), bool)


def deep(levels: int) -> Any:
    """Return a query with nested `$and`."""
    query: Any = {"params.n": 2}
    for _ in range(levels):
        query = {"$and": [query]}
    return query


def test_a_query_may_be_nested_but_not_without_end() -> None:
    assert holds(deep(MAX_LEVELS))
    assert error_path(deep(MAX_LEVELS + 1)) == "query" + ".$and[0]" * MAX_LEVELS + ".$and"
    assert error_path(deep(10_000)) == "query" + ".$and[0]" * MAX_LEVELS + ".$and"


def test_levels_beside_each_other_are_not_below_each_other() -> None:
    assert holds({"$and": [deep(1) for _ in range(3 * MAX_LEVELS)]})


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "(.*a){20}x", "([ab]?){400}x", "[ab]*a[ab]{200}x"]
)
def test_no_pattern_takes_long(pattern: str) -> None:
    test = compile_query({"params.prompt": {"$regex": pattern}})
    began = time.process_time()
    assert not test(RequestFacts({}, {"prompt": "ab" * 1_000_000 + "!"}, "/"))
    assert time.process_time() - began < 2


def test_the_patterns_of_one_config_share_their_room() -> None:
    room, query = QueryLimits(), {"params.prompt": {"$regex": "[ab]{400}"}}
    for _ in range(MAX_INSTRUCTIONS // 500):
        compile_query(query, limits=room)
    with pytest.raises(QueryError, match="too large"):
        compile_query(query, limits=room)


def test_a_pattern_looks_at_the_beginning_of_a_text() -> None:
    test = compile_query({"params.prompt": {"$regex": "cat"}})
    assert test(RequestFacts({}, {"prompt": " " * (MAX_TEXT_LENGTH - 3) + "cat"}, "/"))
    assert not test(RequestFacts({}, {"prompt": " " * MAX_TEXT_LENGTH + "cat"}, "/"))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("3", 3), (" 3 apples", 3), ("-.5e1x", -5), ("1e999", float("inf")), (2**64, 2**64),
        (10**400, float("inf")), (-(10**400), float("-inf")), ("1" * 1_000_000, float("inf")),
    ],
)  # fmt: skip
def test_a_number_is_read_from_the_beginning_of_a_text(value: Any, read: float) -> None:
    assert parse_float(value) == read


@pytest.mark.parametrize("value", ["", "x3", "e5", ".", True, None, [], {}, " " * 10_000_000])
def test_what_is_no_number_equals_none(value: Any) -> None:
    assert parse_float(value) != parse_float(value)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (None, None, True), (None, False, False), (0, False, False), (0, None, False),
        ("", 0, False), (True, True, True), (float("nan"), float("nan"), False), (1, 1.0, True),
    ],
)  # fmt: skip
def test_equality_is_strict(one: Any, other: Any, equal: bool) -> None:  # noqa: FBT001 - a column of the table
    assert strict_equals(one, other) is equal
