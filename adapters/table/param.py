"""`Param`, one row of a parameter table: what a client may send and how the provider spells it.

`STANDARD_PARAMS` are OpenAI's own parameters. A value that OpenAI allows is converted to the
nearest one that the provider supports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from adapters.errors import BadParam

Fields = Mapping[str, Any]
Conversion = Mapping[Any, Any] | Callable[[Any], Fields]

_TYPE_NAMES = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


_WITH_LENGTH = (str, list, dict)
_MAX_EXACT = 2**53
"""Up to here every whole number is a float."""


class Approximation(dict[str, Any]):
    """Provider fields that come near to the client's value but do not equal it.

    A conversion function returns this, so that the receipt says `rounded` and the policy `strict`
    refuses the value.
    """


@dataclass(frozen=True, slots=True)
class Param:
    """One row of a table: a client's parameter and how the provider spells it.

    name            the client's parameter
    field           the provider's name, dotted for nested objects; by default the same name
    kind            the JSON type
    low, high       the range of a number, or of the length of a string or list
    choices         the allowed values
    pattern         a regular expression that a string must match
    convert         a mapping from client value to provider value (others are dropped), or a
                    function from client value to provider fields: `{}` drops the value, an
                    `Approximation` says that it is not exact
    default         the client value to assume if the client sent none that can be converted; for
                    parameters where the provider's default costs money or spoils the image
    default_unless  parameters with the same meaning: beside one of them no default is sent
    own             for a standard parameter: a regular expression of the values that the provider
                    itself documents under this name; they are sent unchanged. Those that
                    `convert` maps to, and those of a row whose `field` is this name, are known
                    without it.
    implied         values that the provider applies by itself, so they are not sent
    note            a remark for the documentation

    For a standard parameter the client's type and range are OpenAI's (`STANDARD_PARAMS`); `low`,
    `high` and `choices` then state the part that the provider supports. For a provider's own
    parameter they are its documented type and range.
    """

    name: str
    field: str = ""
    kind: type = str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    pattern: str = ""
    convert: Conversion | None = None
    default: Any = None
    default_unless: tuple[str, ...] = ()
    own: str = ""
    implied: tuple[Any, ...] = ()
    note: str = ""

    @property
    def target(self) -> str:
        """The provider's name of the parameter."""
        return self.field or self.name


def nested_under(path: str, *rows: Param) -> tuple[Param, ...]:
    """Return rows whose fields are nested in the object at `path` of the body.

    Fields that a conversion function returns are not affected.

    >>> [row.target for row in nested_under("options", Param("seed"), Param("n", "count"))]
    ['options.seed', 'options.count']
    """
    return tuple(replace(row, field=f"{path}.{row.target}") for row in rows)


STANDARD_PARAMS: dict[str, Param] = {
    row.name: row
    for row in (
        Param("prompt", low=1, high=32_000),
        Param("model", low=1, high=512),
        Param("n", kind=int, low=1, high=10),
        Param("size", pattern=r"auto|[1-9][0-9]{1,4}x[1-9][0-9]{1,4}"),
        Param(
            "quality",
            choices=("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"),
        ),
        Param("response_format", choices=("url", "b64_json")),
        Param("style", choices=("vivid", "natural")),
        Param("background", choices=("auto", "transparent", "opaque")),
        Param("moderation", choices=("auto", "low")),
        Param("output_format", choices=("png", "jpeg", "webp", "gif", "svg")),
        Param("output_compression", kind=int, low=0, high=100),
        Param("stream", kind=bool),
        Param("partial_images", kind=int, low=0, high=3),
        Param("user"),
        Param("safety_identifier"),
        Param("complexity", choices=("low", "medium", "high")),
    )
}
"""OpenAI's parameters of `POST /v1/images/generations` with the values that OpenAI allows."""


def format_or_png(field: str, **words: str) -> Callable[[str], Fields]:
    """Return a converter of `output_format` to the provider's words; other formats become png.

    >>> convert = format_or_png("format", jpeg="jpg", png="png")
    >>> convert("jpeg"), convert("webp")
    ({'format': 'jpg'}, {'format': 'png'})
    """

    def convert(name: str) -> Fields:
        return {field: words[name]} if name in words else Approximation({field: "png"})

    return convert


def validate(name: str, value: Any, row: Param | None = None) -> None:
    """Check a value against OpenAI's rule for the parameter, or against `row`. Raises `BadParam`.

    >>> validate("size", "huge")
    Traceback (most recent call last):
    adapters.errors.BadParam: 'size' must be "auto" or WIDTHxHEIGHT in pixels, such as 1024x1024.
    """
    rule = row or STANDARD_PARAMS.get(name)
    if rule is None:
        return
    if not _is_of_kind(rule.kind, value):
        raise BadParam(name, f"'{name}' must be {_TYPE_NAMES[rule.kind]}.", code="invalid_type")
    if rule.pattern and not re.fullmatch(rule.pattern, value):
        hint = ' "auto" or WIDTHxHEIGHT in pixels, such as 1024x1024' if name == "size" else ""
        raise BadParam(name, f"'{name}' must be{hint or ' of the form ' + rule.pattern}.")
    if rule.choices and value not in rule.choices:
        raise BadParam(name, f"'{name}' must be one of {', '.join(map(str, rule.choices))}.")
    size = len(value) if isinstance(value, _WITH_LENGTH) else value
    unit = " characters long" if isinstance(value, str) else ""
    if rule.low is not None and size < rule.low:
        raise BadParam(name, f"'{name}' must be at least {rule.low}{unit}.")
    if rule.high is not None and size > rule.high:
        raise BadParam(name, f"'{name}' must be at most {rule.high}{unit}.")


def _is_of_kind(kind: type, value: Any) -> bool:
    """Whether a JSON value has a type. A bool is not a number; an integer is a float, too."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def whole(row: Param | None, value: Any) -> Any:
    """Return a number such as 20.0 as 20, for a row of whole numbers; any other value as it is."""
    rule = row and STANDARD_PARAMS.get(row.name, row)
    return as_whole(value) if isinstance(value, float) and rule and rule.kind is int else value


def as_whole(value: float) -> float:
    """Return a number such as 20.0 as 20, if it is exact.

    >>> as_whole(20.0), as_whole(0.5), as_whole(1e20)
    (20, 0.5, 1e+20)
    """
    return int(value) if abs(value) <= _MAX_EXACT and value.is_integer() else value


def accepts(row: Param, value: Any) -> bool:
    """Return whether a value obeys the rule of a row."""
    try:
        validate(row.name, value, row)
    except BadParam:
        return False
    return True


def own_values(row: Param) -> tuple[Any, ...]:
    """Return the values that a provider is known to document under a standard name.

    >>> own_values(Param("response_format", convert={"url": "url", "b64_json": "base64"}))
    ('url', 'base64')
    """
    if row.target.rpartition(".")[2] != row.name or not isinstance(row.convert, Mapping):
        return ()
    return tuple(dict.fromkeys(row.convert.values()))


def is_own_value(row: Param, value: Any) -> bool:
    """Return whether a value is one that the provider documents under a standard name.

    >>> is_own_value(Param("size", own="[124]K"), "2K"), is_own_value(Param("size"), "2K")
    (True, False)
    """
    if row.own and isinstance(value, str) and re.fullmatch(row.own, value):
        return True
    return value in own_values(row)


def convert_value(row: Param, value: Any, n: int) -> Fields:
    """Return the provider's fields for a valid client value. Raises `BadParam`."""
    if row.name == "n":
        return {row.target: n}
    if value in row.implied:
        return {}
    if row.name in STANDARD_PARAMS:
        nearest = _clamp(row, value)
    else:
        validate(row.name, nearest := value, row)
    if nearest is None:
        return {}
    if row.convert is None:
        return Approximation({row.target: nearest}) if nearest != value else {row.target: value}
    if callable(row.convert):
        return row.convert(nearest)
    return {row.target: row.convert[nearest]} if nearest in row.convert else {}


def _clamp(row: Param, value: Any) -> Any:
    """Return the nearest value that the provider supports, None if there is none.

    Strings are never cut: a prompt that is too long raises `BadParam`.
    """
    if isinstance(value, str):
        if row.convert is None and row.choices and value not in row.choices:
            return None
        if row.low is not None or row.high is not None:
            validate(row.name, value, row)
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        floor = value if row.low is None else max(value, int(row.low))
        return floor if row.high is None else min(floor, int(row.high))
    return value
