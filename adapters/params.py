"""Parameter tables, and their only interpreter, which also writes the receipt.

A table says how one model family of one provider spells each parameter. Under the policy `adapt` a
value that is legal in OpenAI's contract becomes the nearest that the provider can do, and what it
cannot express is left out; under `strict` both are refused by name; `pass` is `adapt`, but what no
row knows goes on untouched. A wrong type or a value out of range is always a `BadParam`. Whatever
happened is in the receipt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from adapters import dotted
from adapters.errors import BadParam

Fields = Mapping[str, Any]
Conversion = Mapping[Any, Any] | Callable[[Any], Fields]


class Nearest(dict[str, Any]):
    """Fields that say something near to what was asked for, not the same."""


class Policy(Enum):
    """What becomes of a value that the provider cannot express."""

    ADAPT = "adapt"
    """Send the nearest, or leave it out, and say so."""
    STRICT = "strict"
    """Answer 400, by name."""
    PASS = "pass"  # noqa: S105 - a word, no password
    """As `ADAPT`, but a parameter that no row knows goes on as it is."""


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
    to: Conversion | None = None
    default: Any = None
    unless: tuple[str, ...] = ()
    anyway: tuple[Any, ...] = ()
    about: str = ""

    @property
    def target(self) -> str:
        """The provider's name for it."""
        return self.field or self.name


def within(place: str, *rows: Param) -> tuple[Param, ...]:
    """Put the fields of rows into an object of the body; what a function makes names its own.

    >>> [row.target for row in within("options", Param("seed"), Param("n", "count"))]
    ['options.seed', 'options.count']
    """
    return tuple(replace(row, field=f"{place}.{row.target}") for row in rows)


CONTRACT: dict[str, Param] = {
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

OURS = frozenset({"model", "n", "response_format", "stream", "user", "safety_identifier"})
"""What the gateway itself honours or may leave out under every policy."""

_ODD = re.compile(r"[^A-Za-z0-9_.:*/-]")
"""What may not stand in a receipt."""
_HONOURED = frozenset({"model", "n", "response_format", "stream"})
"""What the gateway itself honours: no line is owed for it."""

_CALLS_HOME = re.compile(r"webhook|callback|notify", re.IGNORECASE)
"""Names by which a provider would be told to call an address of the client's: never sent."""
_MOST_LEVELS = 64
"""How deep a value can be nested: no parameter of anybody's needs more."""
_CHANGED = frozenset({"dropped", "rounded", "clamped"})
"""The verbs that say: not what was asked for."""

_NEUTRAL = frozenset({"auto", "false"})
"""Values that ask for nothing: leaving them out loses nothing."""

_TYPE_NAMES = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one model family. `constant` fields are always sent.

    What no row knows goes, where the policy passes it on, `below` the object of that name; `never`
    are names that no policy passes on, since the adapter itself says what stands there; in a
    `sealed` table, that is every name.

    >>> table = Table((Param("prompt", "text"), Param("seed", kind=int, low=0, high=9)))
    >>> made = table.translate({"prompt": "a cube", "seed": 7, "style": "vivid"})
    >>> made.fields, str(made.receipt)
    ({'text': 'a cube', 'seed': 7}, 'renamed prompt>text, dropped style=vivid')
    """

    rows: tuple[Param, ...]
    constant: Fields = field(default_factory=dict)
    below: str = ""
    never: frozenset[str] = frozenset()
    sealed: bool = False
    _by_name: dict[str, Param] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look the rows over once, not for each call."""
        # The way to set a field of a frozen dataclass.
        object.__setattr__(self, "_by_name", {row.name: row for row in self.rows})

    @property
    def pictures_per_call(self) -> int:
        """How many pictures one conversation can make: the bound of the row `n`, else 1."""
        row = self.row("n")
        return int(row.high or 10) if row else 1

    def row(self, name: str) -> Param | None:
        """Give the row of a client's parameter."""
        return self._by_name.get(name)

    def translate(
        self,
        params: Mapping[str, Any],
        policy: Policy = Policy.ADAPT,
        *,
        n: int = 1,
        provider: str = "This provider",
        withheld: frozenset[str] = frozenset(),
    ) -> Translation:
        """Turn a client's parameters into the provider's fields, and say what became of each.

        `n` is the number of pictures for this one call, `provider` the name for refusals;
        `withheld` are the rows that are of no use here. Where two parameters say the same field,
        the later one counts. Raises `BadParam`.
        """
        asked = {name: value for name, value in params.items() if value is not None}
        made = {name: self._made(name, value, policy, n) for name, value in asked.items()}
        made |= {name: {} for name in asked.keys() & withheld}
        silent = [row for row in self.rows if row.name not in withheld and not made.get(row.name)]
        defaults = self._defaults(silent, made, n)
        fields = self._joined({**made, **defaults})
        lines: list[Line] = []
        for name, value in asked.items():
            row, kept = self.row(name), _kept(made[name], fields)
            if policy is Policy.STRICT and len(kept) < len(made[name]):
                _refuse_overruled(name, made[name].keys() - kept.keys(), provider)
            if line := _line(name, value, kept, row):
                if policy is Policy.STRICT and line.verb in _CHANGED:
                    _refuse(line, row, provider)
                lines.append(line)
        for name, taken in defaults.items():
            row = self.row(name)
            if row and (name, row.default) != ("n", 1):
                lines.append(Line("defaulted", _written(taken, row)))
        return Translation(fields, Receipt(tuple(lines)))

    def _made(self, name: str, value: Any, policy: Policy, n: int) -> Fields:
        """Give the fields of one parameter; raises `BadParam`."""
        checked(name, value)
        calls_home = any(map(_CALLS_HOME.search, _names(name, value)))
        if row := self.row(name):
            return _fields(row, value, n)
        if policy is not Policy.PASS or self.sealed or name in OURS | self.never or "." in name:
            return {}
        if not name.isprintable():  # It could end a line in the head of a form's part.
            return {}
        if not isinstance(value, dict) and any(
            it.target.startswith(f"{name}.") for it in self.rows
        ):
            return {}
        place = f"{self.below}.{name}" if self.below not in ("", name) else name
        return {} if calls_home else {place: value}

    def _defaults(
        self, silent: Iterable[Param], made: Mapping[str, Fields], n: int
    ) -> dict[str, Fields]:
        """Give what is taken where the client said nothing about it, in any of its names."""
        said = self._joined(made)
        rows = (row for row in silent if row.default is not None and not _told(row, made))
        taken = {row.name: _fields(row, row.default, n) for row in rows}
        return {
            name: fields
            for name, fields in taken.items()
            if not any(dotted.is_taken(said, target) for target in fields)
        }

    def _joined(self, made: Mapping[str, Fields]) -> dict[str, Any]:
        """Join what was made of each parameter, under the constants; what no row knows first."""
        fields: dict[str, Any] = {}
        for name in sorted(made, key=lambda name: self.row(name) is not None):
            dotted.put(fields, made[name])
        dotted.put(fields, self.constant)
        return fields


@dataclass(frozen=True, slots=True, repr=False)
class Translation:
    """What a table made of a client's parameters."""

    fields: dict[str, Any]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one parameter. `outcome` is empty for what was dropped."""

    verb: str
    name: str
    value: str = ""
    outcome: str = ""

    def __str__(self) -> str:
        """Write it as it stands in the header: `converted n=3>calls=3`."""
        asked = f"{self.name}={self.value}" if self.value else self.name
        return f"{self.verb} {asked}>{self.outcome}" if self.outcome else f"{self.verb} {asked}"


RECEIPT_LIMIT, RECORD_LIMIT = 2048, 16_384
"""Bytes of a receipt in a header, and in the record of a call."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the parameters of one call, in the order the client sent them."""

    lines: tuple[Line, ...] = ()

    def plus(self, *lines: Line) -> Receipt:
        """Give a receipt with further lines."""
        return replace(self, lines=self.lines + lines)

    def __str__(self) -> str:
        """Write it for a header."""
        return self.written(RECEIPT_LIMIT)

    def written(self, limit: int) -> str:
        """Write the lines with commas between, at most `limit` bytes of ASCII."""
        written = ""
        for count, line in enumerate(map(str, self.lines)):
            if len(written) + len(line) > limit - 20:
                return f"{written}, {len(self.lines) - count} more"
            written = f"{written}, {line}" if written else line
        return written


def left_out(
    params: Mapping[str, Any], withheld: Collection[str], policy: Policy, provider: str
) -> Receipt:
    """Say which parameters do not go to a provider that gets all others as they are.

    Raises `BadParam` where the policy leaves nothing out.

    >>> str(left_out({"prompt": "a cube", "size": "auto"}, {"size"}, Policy.ADAPT, "Acme"))
    'dropped size=auto'
    """
    asked = [(name, it) for name, it in params.items() if name in withheld and it is not None]
    lines = tuple(line for name, it in asked if (line := _line(name, it, {}, None)))
    for line in lines if policy is Policy.STRICT else ():
        _refuse(line, None, provider)
    return Receipt(lines)


def checked(name: str, value: Any, row: Param | None = None) -> None:
    """Hold a value against OpenAI's contract, or against `row`; raises `BadParam`.

    >>> checked("size", "huge")
    Traceback (most recent call last):
    adapters.errors.BadParam: 'size' must be "auto" or WIDTHxHEIGHT in pixels, such as 1024x1024.
    """
    rule = row or CONTRACT.get(name)
    if rule is None:
        return
    if not _is_a(rule.kind, value):
        raise BadParam(name, f"'{name}' must be {_TYPE_NAMES[rule.kind]}.", code="invalid_type")
    if rule.pattern and not re.fullmatch(rule.pattern, value):
        hint = ' "auto" or WIDTHxHEIGHT in pixels, such as 1024x1024' if name == "size" else ""
        raise BadParam(name, f"'{name}' must be{hint or ' of the form ' + rule.pattern}.")
    if rule.choices and value not in rule.choices:
        raise BadParam(name, f"'{name}' must be one of {', '.join(map(str, rule.choices))}.")
    size = len(value) if isinstance(value, str | list | dict) else value
    unit = " characters long" if isinstance(value, str) else ""
    if rule.low is not None and size < rule.low:
        raise BadParam(name, f"'{name}' must be at least {rule.low}{unit}.")
    if rule.high is not None and size > rule.high:
        raise BadParam(name, f"'{name}' must be at most {rule.high}{unit}.")


def _is_a(kind: type, value: Any) -> bool:
    """Tell whether a JSON value is of a kind; a bool is no number, a whole number is a number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _fields(row: Param, value: Any, n: int) -> Fields:
    """Give the provider's fields for a value that is legal in the contract."""
    if row.name == "n":
        return {row.target: n}
    if value in row.anyway:
        return {}
    if row.name in CONTRACT:
        nearest = _nearest(row, value)
    else:
        checked(row.name, nearest := value, row)
    if nearest is None:
        return {}
    if row.to is None:
        return Nearest({row.target: nearest}) if nearest != value else {row.target: value}
    if callable(row.to):
        return row.to(nearest)
    return {row.target: row.to[nearest]} if nearest in row.to else {}


def _told(row: Param, made: Mapping[str, Fields]) -> bool:
    return any(made.get(name) for name in row.unless)


def _names(name: str, value: Any) -> set[str]:
    """Give a parameter's name and every name in its value; raises where that is too deep."""
    places, found = [value], {name}
    for _ in range(_MOST_LEVELS):
        objects = [place for place in places if isinstance(place, dict)]
        found.update(*objects)
        places = [it for place in objects for it in place.values()] + [
            it for place in places if isinstance(place, list) for it in place
        ]
        if not places:
            return found
    raise BadParam(name, f"'{name}' must not be nested more than {_MOST_LEVELS} levels deep.")


def _nearest(row: Param, value: Any) -> Any:
    """Bring a legal value into what this provider can do; None when it cannot be said at all.

    A text is never cut: too long a prompt is the client's to shorten.
    """
    if isinstance(value, str):
        if row.to is None and row.choices and value not in row.choices:
            return None
        if row.low is not None or row.high is not None:
            checked(row.name, value, row)
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        floor = value if row.low is None else max(value, int(row.low))
        return floor if row.high is None else min(floor, int(row.high))
    return value


def _line(name: str, value: Any, made: Fields, row: Param | None) -> Line | None:
    """Write what became of a parameter; None when it went through as it was."""
    shown = _shown(name, value, row)
    if not made:
        is_honoured = name in _HONOURED or (row is not None and value in row.anyway)
        return None if is_honoured else _dropped(name, shown)
    if row is None:
        return Line("passed", plain(name), shown)
    if name == "n" or made == {name: value}:
        return None
    if len(made) == 1 and next(iter(made.values())) == value:
        return Line("renamed", name, "", next(iter(made)))
    # A prompt may be wrapped in a larger structure: its words never stand in a receipt.
    if not shown:
        return Line("renamed", name, "", ";".join(made))
    verb = "converted"
    if isinstance(made, Nearest):
        verb = "rounded" if row.to else "clamped"
    return Line(verb, name, shown, _written(made, row))


def _written(made: Fields, row: Param) -> str:
    """Write fields for a receipt, without a client's or a provider's free text."""
    told = row.kind is not str or row.name in CONTRACT or row.choices or row.pattern
    return ";".join(
        k if not told or isinstance(v, list | dict) else f"{k}={plain(v)}" for k, v in made.items()
    )


def _dropped(name: str, shown: str) -> Line:
    return Line("dropped", plain(name), shown)


def _shown(name: str, value: Any, row: Param | None) -> str:
    """Show a value in a receipt if it is a number or one of a list; free text is never shown."""
    rule = CONTRACT.get(name) or row
    listed = rule is not None and bool(rule.choices or rule.pattern)
    if isinstance(value, bool | int | float) or (listed and isinstance(value, str)):
        return plain(value)
    return ""


def plain(value: Any) -> str:
    """Keep a word to what may stand in a header line: printable ASCII without separators."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _ODD.sub("?", text[:64])


def _refuse_overruled(name: str, fields: Iterable[str], provider: str) -> None:
    """Raise for a parameter that another one contradicts."""
    raise BadParam(
        name,
        f"'{name}' is {' and '.join(sorted(fields))} for {provider}, and another parameter says "
        "that otherwise. Leave one of them out, or send x-easel-unsupported: adapt.",
        code="unsupported_parameter",
    )


def _refuse(line: Line, row: Param | None, provider: str) -> None:
    """Raise for a parameter that would be left out or changed, unless nothing is lost by it."""
    if line.name in OURS or line.value in _NEUTRAL:
        return
    if (line.name, line.value) == ("partial_images", "0"):
        return
    nearest = ""
    if line.outcome:
        nearest = f" The nearest it has is {line.outcome.replace(';', ', ')}."
    elif row and isinstance(row.to, Mapping):
        nearest = f" It can do {', '.join(map(str, row.to))}."
    elif row and row.choices:
        nearest = f" It can do {', '.join(map(str, row.choices))}."
    what = f"'{line.name}' = {line.value}" if line.value else f"'{line.name}'"
    raise BadParam(
        line.name,
        f"{provider} has nothing for {what}.{nearest} "
        "Leave it out or change it, or send x-easel-unsupported: adapt.",
        code="unsupported_parameter",
    )


def _kept(made: Fields, fields: Fields) -> Fields:
    """Give those of a parameter's fields that nothing later says otherwise."""
    kept = {
        target: it for target, it in made.items() if dotted.holds(dotted.found(fields, target), it)
    }
    return Nearest(kept) if isinstance(made, Nearest) else kept
