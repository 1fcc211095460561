"""Conditional routing: a query over metadata, parameters and path, compiled once.

Operators and their meaning: https://portkey.ai/docs/product/ai-gateway/conditional-routing
A key that the request does not have makes its condition false, whatever the operator. Several
operators, and `$and` and `$or` beside keys, all have to hold. A `$regex` runs in linear time (RE2),
which is imported with the first one: it takes 3 MB.
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
"""Characters of a value that a `$regex` looks at."""
MAX_INSTRUCTIONS = 2000
"""Of the patterns of one config, in RE2's own machine: each looks at each character once."""
MAX_LEVELS = 8
"""Of `$and` and `$or` within each other."""
_MAX_NUMBER_LENGTH = 1000


class QueryError(Exception):
    """A query cannot be used; `path` says where in it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True, repr=False)
class RequestFacts:
    """What a query can ask about: the request as the client sent it."""

    metadata: Mapping[str, Any]
    params: Mapping[str, Any]
    pathname: str

    def get(self, key: str) -> Any:
        """Give what a key such as `metadata.plan` names, or a value that equals nothing."""
        place, _, name = key.partition(".")
        if key == "url.pathname":
            return self.pathname
        source = self.metadata if place == "metadata" else self.params
        return source.get(name, _MISSING)

    def has(self, key: str) -> bool:
        """Tell whether the request has what a key names."""
        return self.get(key) is not _MISSING


Predicate = Callable[[RequestFacts], bool]
Operator = Callable[[Any, Any], bool]


class QueryLimits:
    """What the queries of one config may still hold together."""

    def __init__(self) -> None:
        self.instructions_left = MAX_INSTRUCTIONS
        self.levels_left = MAX_LEVELS

    def add_regex(self, instructions: int, path: str) -> None:
        """Count a pattern in; raises `QueryError` where it is one too many."""
        self.instructions_left -= instructions
        if self.instructions_left < 0:
            raise QueryError(path, "makes the regular expressions of the config too large")

    @contextmanager
    def nested(self, path: str) -> Iterator[None]:
        """Go down a level; raises `QueryError` where it is one too many."""
        if self.levels_left == 0:
            raise QueryError(path, f"must not be nested more than {MAX_LEVELS} levels deep")
        self.levels_left -= 1
        yield
        self.levels_left += 1


def compile_query(query: Any, path: str = "query", limits: QueryLimits | None = None) -> Predicate:
    """Compile a query; raises `QueryError`. Queries of one config share their `room`.

    >>> test = compiled({"metadata.plan": "paid", "params.n": {"$gt": 1, "$lte": 4}})
    >>> test(Facts({"plan": "paid"}, {"n": 4}, "/"))
    True
    >>> test(Facts({}, {"n": 4}, "/"))
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
    """Compile what a key's value has to be: a plain value, or operators that all have to hold."""
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
        raise QueryError(path, "must be a text, a number, true, false or null")
    test = _OPERATORS[name]
    return lambda value: test(value, operand)


def _compile_regex(pattern: Any, path: str, limits: QueryLimits) -> Any:
    if not isinstance(pattern, str) or len(pattern) > _MAX_REGEX_LENGTH:
        raise QueryError(path, f"must be a text of at most {_MAX_REGEX_LENGTH} characters")
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415 - see the module; it ships no types

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY
    try:
        found = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        raise QueryError(
            path, "is not a regular expression of RE2's syntax (no look-around), or too large"
        ) from None
    limits.add_regex(found.programsize, path)
    return found


def _regex_predicate(pattern: Any) -> Callable[[Any], bool]:
    """Search what can be written as a text without much ado; lists and objects never match."""

    def matches(value: Any) -> bool:
        return not isinstance(value, dict | list) and bool(pattern.search(_to_text(value)))

    return matches


def strict_equals(value: Any, operand: Any) -> bool:
    """Tell whether two JSON values are strictly equal, as JavaScript's `===` has it.

    >>> same(1, 1.0), same(1, True), same("1", 1)
    (True, False, False)
    """
    if isinstance(value, bool) or isinstance(operand, bool):
        return value is operand
    if isinstance(value, int | float) and isinstance(operand, int | float):
        return value == operand
    return type(value) is type(operand) and bool(value == operand)


def parse_float(value: Any) -> float:
    """Read a number as JavaScript's `parseFloat` does; NaN, which no comparison holds for.

    >>> number("12.5px"), number(3), number("x") == number("x")
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
    except OverflowError:  # of an integer only
        return float("inf" if int(value) > 0 else "-inf")


def _to_text(value: Any) -> str:
    """Give the beginning of a value as JavaScript writes it."""
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
"""Every word of a query that begins with a dollar sign."""
