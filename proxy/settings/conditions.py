"""Conditional routing: a query over metadata, parameters and path, compiled once.

Operators and their meaning: https://portkey.ai/docs/product/ai-gateway/conditional-routing
A condition on a key that the request does not have is false, whatever the operator. Several
operators of a key must all hold, as must all keys of a query, `$and` and `$or` included. A `$regex`
runs in linear time (RE2). RE2 takes 3 MB, so it is imported with the first `$regex`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_MISSING = object()
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MAX_REGEX_LENGTH = 1000
_REGEX_MEMORY = 1 << 20
MAX_TEXT_LENGTH = 8192
"""Characters of a value that a `$regex` searches."""
MAX_INSTRUCTIONS = 2000
"""Size limit for all patterns of one config, in RE2 instructions: it bounds the search time."""
MAX_LEVELS = 8
"""Nesting limit for `$and` and `$or`."""
_MAX_NUMBER_LENGTH = 1000


class QueryError(Exception):
    """A query is invalid; `path` is the position in it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True, repr=False)
class RequestFacts:
    """The request as the client sent it, which queries are evaluated on."""

    metadata: Mapping[str, Any]
    params: Mapping[str, Any]
    pathname: str

    def get(self, key: str) -> Any:
        """Return the value of a key such as `metadata.plan`, or a value that equals no other."""
        place, _, name = key.partition(".")
        if key == "url.pathname":
            return self.pathname
        source = self.metadata if place == "metadata" else self.params
        return source.get(name, _MISSING)

    def has(self, key: str) -> bool:
        """Whether the request has a value for this key."""
        return self.get(key) is not _MISSING


Predicate = Callable[[RequestFacts], bool]
Operator = Callable[[Any, Any], bool]


class QueryLimits:
    """The part of a config's limits that its queries have not used yet."""

    def __init__(self) -> None:
        self.instructions_left = MAX_INSTRUCTIONS
        self.levels_left = MAX_LEVELS

    def add_regex(self, instructions: int, path: str) -> None:
        """Count a pattern; raises `QueryError` if the config's patterns are too large together."""
        self.instructions_left -= instructions
        if self.instructions_left < 0:
            raise QueryError(path, "makes the regular expressions of the config too large")

    @contextmanager
    def nested(self, path: str) -> Iterator[None]:
        """Enter a level of nesting; raises `QueryError` if it is too deep."""
        if self.levels_left == 0:
            raise QueryError(path, f"must not be nested more than {MAX_LEVELS} levels deep")
        self.levels_left -= 1
        yield
        self.levels_left += 1


def compile_query(query: Any, path: str = "query", limits: QueryLimits | None = None) -> Predicate:
    """Compile a query; raises `QueryError`. The queries of one config share `limits`.

    >>> test = compile_query({"metadata.plan": "paid", "params.n": {"$gt": 1, "$lte": 4}})
    >>> test(RequestFacts({"plan": "paid"}, {"n": 4}, "/"))
    True
    >>> test(RequestFacts({}, {"n": 4}, "/"))
    False
    """
    if not isinstance(query, dict) or not query:
        raise QueryError(path, "must be an object with at least one condition")
    limits = limits or QueryLimits()
    tests = [
        _compile_condition(key, wanted, f"{path}.{key}", limits) for key, wanted in query.items()
    ]
    return lambda facts: all(test(facts) for test in tests)


def _compile_condition(key: str, expected: Any, path: str, limits: QueryLimits) -> Predicate:
    if key in ("$and", "$or"):
        return _compile_group(key, expected, path, limits)
    place, _, name = key.partition(".")
    if key != "url.pathname" and not (place in ("metadata", "params") and name and "." not in name):
        raise QueryError(path, "must be metadata.<key>, params.<key>, url.pathname, $and or $or")
    tests = _compile_operators(expected, path, limits)

    def holds(facts: RequestFacts) -> bool:
        value = facts.get(key)
        return value is not _MISSING and all(test(value) for test in tests)

    return holds


def _compile_group(key: str, queries: Any, path: str, limits: QueryLimits) -> Predicate:
    if not isinstance(queries, list) or not queries:
        raise QueryError(path, "must be a list of conditions")
    with limits.nested(path):
        tests = [compile_query(query, f"{path}[{i}]", limits) for i, query in enumerate(queries)]
    combine = all if key == "$and" else any
    return lambda facts: combine(test(facts) for test in tests)


def _compile_operators(
    expected: Any, path: str, limits: QueryLimits
) -> list[Callable[[Any], bool]]:
    """Compile what is expected of a key: a plain value, or operators that must all hold."""
    if not isinstance(expected, dict):
        expected = {"$eq": expected}
    if not expected:
        raise QueryError(path, "must hold at least one operator")
    return [
        _compile_operator(name, operand, f"{path}.{name}", limits)
        for name, operand in expected.items()
    ]


def _compile_operator(
    name: str, operand: Any, path: str, limits: QueryLimits
) -> Callable[[Any], bool]:
    if name == "$regex":
        return _regex_predicate(_compile_regex(operand, path, limits))
    if name not in _OPERATORS:
        known = ", ".join([*_OPERATORS, "$regex"])
        raise QueryError(path, f"is not an operator; they are {known}")
    members = name in ("$in", "$nin")
    if members and not isinstance(operand, list):
        raise QueryError(path, "must be a list")
    if any(isinstance(one, dict | list) for one in (operand if members else [operand])):
        raise QueryError(path, "must be a string, a number, true, false or null")
    test = _OPERATORS[name]
    return lambda value: test(value, operand)


def _compile_regex(pattern: Any, path: str, limits: QueryLimits) -> Any:
    if not isinstance(pattern, str) or len(pattern) > _MAX_REGEX_LENGTH:
        raise QueryError(path, f"must be a string of at most {_MAX_REGEX_LENGTH} characters")
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415 - 3 MB; it ships no types

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY
    try:
        found = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        raise QueryError(
            path, "is not a valid RE2 regular expression (no look-around), or is too large"
        ) from None
    limits.add_regex(found.programsize, path)
    return found


def _regex_predicate(pattern: Any) -> Callable[[Any], bool]:
    """Return a predicate that searches a value's text; lists and objects never match."""

    def matches(value: Any) -> bool:
        return not isinstance(value, dict | list) and bool(pattern.search(_to_text(value)))

    return matches


def strict_equals(value: Any, operand: Any) -> bool:
    """Return whether two JSON values are strictly equal, as by JavaScript's `===`.

    >>> strict_equals(1, 1.0), strict_equals(1, True), strict_equals("1", 1)
    (True, False, False)
    """
    if isinstance(value, bool) or isinstance(operand, bool):
        return value is operand
    if isinstance(value, int | float) and isinstance(operand, int | float):
        return value == operand
    return type(value) is type(operand) and bool(value == operand)


def parse_float(value: Any) -> float:
    """Parse a number as JavaScript's `parseFloat` does; NaN, for which no comparison holds.

    >>> parse_float("12.5px"), parse_float(3), parse_float("x") == parse_float("x")
    (12.5, 3.0, False)
    """
    if isinstance(value, bool):
        return float("nan")
    if isinstance(value, int | float):
        return _to_float(value)
    found = _NUMBER.match(value[:_MAX_NUMBER_LENGTH]) if isinstance(value, str) else None
    return _to_float(found[0]) if found else float("nan")


def _to_float(value: str | float) -> float:
    try:
        return float(value)
    except OverflowError:  # raised for integers only
        return float("inf" if int(value) > 0 else "-inf")


def _to_text(value: Any) -> str:
    """Return a value's text as JavaScript writes it, cut to the length that is searched."""
    if isinstance(value, str):
        return value[:MAX_TEXT_LENGTH]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "null" if value is None else str(value)


_OPERATORS: dict[str, Operator] = {
    "$eq": strict_equals,
    "$ne": lambda value, operand: not strict_equals(value, operand),
    "$gt": lambda value, operand: parse_float(value) > parse_float(operand),
    "$gte": lambda value, operand: parse_float(value) >= parse_float(operand),
    "$lt": lambda value, operand: parse_float(value) < parse_float(operand),
    "$lte": lambda value, operand: parse_float(value) <= parse_float(operand),
    "$in": lambda value, operand: any(strict_equals(value, one) for one in operand),
    "$nin": lambda value, operand: not any(strict_equals(value, one) for one in operand),
}
OPERATORS = frozenset({*_OPERATORS, "$regex", "$and", "$or"})
"""All keys of a query that begin with a dollar sign."""
