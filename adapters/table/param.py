"""One row of a table: a parameter, what is legal in it, and how a provider spells it.

`CONTRACT` has OpenAI's own rows. What is legal there is brought into what a provider can do.
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


class Approximation(dict[str, Any]):
    """Fields that say something near to what was asked for, not the same."""


@dataclass(frozen=True, slots=True)
class Param:
    """One row of a table: a client's parameter and how the provider spells it.

    `field` is the provider's name, dotted for nested objects; by default the same name. For one of
    OpenAI's parameters type and range are the contract's; `low`, `high` and `choices` say how much
    of it this provider can do. For a provider's own parameter they are its documented type
    (`kind`) and range, lengths for strings.
    `to` converts: a mapping from value to value (what it lacks is left out), or a function from a
    value to fields (`{}` leaves it out, `Nearest` says that the meaning is not quite the same).
    `default` is a client's value, taken when the client says nothing, or nothing that the provider
    could be told: for what costs money or spoils the picture if the provider chooses. It is not
    taken beside any of the parameters in `unless`, which say the same in another way. What is in
    `anyway` is so without being said, and is not sent.
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
    implied: tuple[Any, ...] = ()
    note: str = ""

    @property
    def target(self) -> str:
        """The provider's name for it."""
        return self.field or self.name


def nested_under(place: str, *rows: Param) -> tuple[Param, ...]:
    """Put the fields of rows into an object of the body; what a function makes names its own.

    >>> [row.target for row in nested_under("options", Param("seed"), Param("n", "count"))]
    ['options.seed', 'options.count']
    """
    return tuple(replace(row, field=f"{place}.{row.target}") for row in rows)


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
"""OpenAI's parameters of `POST /v1/images/generations`, with the values that are legal there."""


def format_or_png(field: str, **words: str) -> Callable[[str], Fields]:
    """Make a converter of formats to a provider's words; what it cannot make is a png.

    >>> to = format_or_png("format", jpeg="jpg", png="png")
    >>> to("jpeg"), to("webp")
    ({'format': 'jpg'}, {'format': 'png'})
    """

    def converted(asked: str) -> Fields:
        return {field: words[asked]} if asked in words else Approximation({field: "png"})

    return converted


def validate(name: str, value: Any, row: Param | None = None) -> None:
    """Hold a value against OpenAI's contract, or against `row`; raises `BadParam`.

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
    """Tell whether a JSON value is of a kind; a bool is no number, a whole number is a number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def convert_value(row: Param, value: Any, n: int) -> Fields:
    """Give the provider's fields for a value that is legal in the contract."""
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
    """Bring a legal value into what this provider can do; None when it cannot be said at all.

    A text is never cut: too long a prompt is the client's to shorten.
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
