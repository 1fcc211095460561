"""The text of an inline config, read without anything that parsers disagree on."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from proxy.settings.routing_config import MAX_ERRORS, ConfigError, ErrorCollector


class InvalidJson(ConfigError):  # noqa: N818 - what is wrong, said in two words
    """A text is no JSON at all."""


@dataclass(frozen=True, slots=True)
class _Invalid:
    """Stands in JSON for a value that cannot be used, until its path is known."""

    message: str


_MAX_DEPTH = 32
_MAX_DIGITS = 18
# A text, whole or broken off, so that its brackets are not counted; or a bracket.
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse_config_json(text: str) -> Any:
    """Read the JSON of a config, refusing what parsers disagree on; raises `ConfigError`.

    >>> read_config('{"retry": {"attempts": 1, "attempts": 5}}')
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
    faults = ErrorCollector()
    _collect_invalid(raw, "", faults)
    faults.raise_errors()
    return raw


def _depth(text: str) -> int:
    """Count how deep a text's brackets go, without parsing it.

    >>> _nesting('{"a": [1, "[["]}')
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
    return number if math.isfinite(number) else _Invalid("must be a number that is not too large")


def _collect_invalid(value: Any, path: str, errors: ErrorCollector) -> None:
    """Note what cannot be used; the nesting is known to be bounded."""
    if len(errors.errors) > MAX_ERRORS:
        return
    if isinstance(value, _Invalid):
        errors.add(path, value.message)
    elif isinstance(value, str) and not _is_unicode(value):
        errors.add(path, "holds half a surrogate pair")
    elif isinstance(value, list):
        for i, one in enumerate(value):
            _collect_invalid(one, f"{path}[{i}]", errors)
    elif isinstance(value, dict):
        for key, one in value.items():
            if _is_unicode(key):
                _collect_invalid(one, f"{path}.{key}".removeprefix("."), errors)
            else:
                errors.add(path, "has a key that holds half a surrogate pair")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
