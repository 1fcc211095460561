"""Strict JSON parser for inline configs: it rejects what JSON parsers interpret differently."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from proxy.settings.routing_config import MAX_ERRORS, ConfigError, ErrorCollector


class InvalidJson(ConfigError):  # noqa: N818 - reads as a statement
    """The text is not JSON."""


@dataclass(frozen=True, slots=True)
class _Invalid:
    """Placeholder for an invalid value, until its path is known."""

    message: str


_MAX_DEPTH = 32
_MAX_DIGITS = 18
# A string, complete or cut off, so that its brackets are not counted; or a bracket.
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse_config_json(text: str) -> Any:
    """Parse the JSON of a config; raises `ConfigError` with everything that is wrong.

    >>> parse_config_json('{"retry": {"attempts": 1, "attempts": 5}}')
    Traceback (most recent call last):
    proxy.settings.routing_config.ConfigError: retry.attempts: is given twice
    """
    if _depth(text) > _MAX_DEPTH:
        raise ConfigError("", f"a config must not be nested more than {_MAX_DEPTH} levels deep")
    try:
        raw = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=lambda _: _Invalid("must be a number"),
        )
    except ValueError as error:
        where = f" (column {error.pos + 1})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidJson("", f"a config must be valid JSON{where}") from None
    errors = ErrorCollector()
    _collect_invalid(raw, "", errors)
    errors.raise_errors()
    return raw


def _depth(text: str) -> int:
    """Return the depth of a text's brackets, without parsing it.

    >>> _depth('{"a": [1, "[["]}')
    2
    """
    depth = deepest = 0
    for found in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = _Invalid("is given twice") if key in found else value
    return found


def _integer(digits: str) -> Any:
    if len(digits.removeprefix("-")) > _MAX_DIGITS:
        return _Invalid(f"must have at most {_MAX_DIGITS} digits")
    return int(digits)


def _decimal(digits: str) -> Any:
    number = float(digits)
    return number if math.isfinite(number) else _Invalid("must be a finite number")


def _collect_invalid(value: Any, path: str, errors: ErrorCollector) -> None:
    """Collect the invalid values of a tree whose depth is known to be bounded."""
    if len(errors.errors) > MAX_ERRORS:
        return
    if isinstance(value, _Invalid):
        errors.add(path, value.message)
    elif isinstance(value, str) and not _is_unicode(value):
        errors.add(path, "contains half a surrogate pair")
    elif isinstance(value, list):
        for i, one in enumerate(value):
            _collect_invalid(one, f"{path}[{i}]", errors)
    elif isinstance(value, dict):
        for key, one in value.items():
            if _is_unicode(key):
                _collect_invalid(one, f"{path}.{key}".removeprefix("."), errors)
            else:
                errors.add(path, "has a key that contains half a surrogate pair")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
