"""The text of an inline config, read without anything that parsers disagree on."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from proxy.settings.routing_config import MOST_FAULTS, ConfigError, Faults


class NotJson(ConfigError):  # noqa: N818 - what is wrong, said in two words
    """A text is no JSON at all."""


@dataclass(frozen=True, slots=True)
class _Bad:
    """Stands in JSON for a value that cannot be used, until its path is known."""

    message: str


_MOST_NESTED = 32
_MOST_DIGITS = 18
# A text, whole or broken off, so that its brackets are not counted; or a bracket.
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def read_config(text: str) -> Any:
    """Read the JSON of a config, refusing what parsers disagree on; raises `ConfigError`.

    >>> read_config('{"retry": {"attempts": 1, "attempts": 5}}')
    Traceback (most recent call last):
    proxy.settings.routing_config.ConfigError: retry.attempts: is given twice
    """
    if _nesting(text) > _MOST_NESTED:
        raise ConfigError("", f"a config must not be nested more than {_MOST_NESTED} levels deep")
    try:
        raw = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=lambda _: _Bad("must be a number"),
        )
    except ValueError as error:
        where = f" (column {error.pos + 1})" if isinstance(error, json.JSONDecodeError) else ""
        raise NotJson("", f"a config must be valid JSON{where}") from None
    faults = Faults()
    _find_bad(raw, "", faults)
    faults.raise_any()
    return raw


def _nesting(text: str) -> int:
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
        found[key] = _Bad("is given twice") if key in found else value
    return found


def _integer(digits: str) -> Any:
    if len(digits.removeprefix("-")) > _MOST_DIGITS:
        return _Bad(f"must have at most {_MOST_DIGITS} digits")
    return int(digits)


def _decimal(digits: str) -> Any:
    number = float(digits)
    return number if math.isfinite(number) else _Bad("must be a number that is not too large")


def _find_bad(value: Any, path: str, faults: Faults) -> None:
    """Note what cannot be used; the nesting is known to be bounded."""
    if len(faults.errors) > MOST_FAULTS:
        return
    if isinstance(value, _Bad):
        faults.add(path, value.message)
    elif isinstance(value, str) and not _is_unicode(value):
        faults.add(path, "holds half a surrogate pair")
    elif isinstance(value, list):
        for i, one in enumerate(value):
            _find_bad(one, f"{path}[{i}]", faults)
    elif isinstance(value, dict):
        for key, one in value.items():
            if _is_unicode(key):
                _find_bad(one, f"{path}.{key}".removeprefix("."), faults)
            else:
                faults.add(path, "has a key that holds half a surrogate pair")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
