"""Parameter tables, and their only interpreter, which also writes the receipt.

A table says how one model family of one provider spells each parameter. Under the policy `adapt` a
value that is legal in OpenAI's contract becomes the nearest that the provider can do, and what it
cannot express is left out; under `strict` both are refused by name; `pass` is `adapt`, but what no
row knows goes on untouched. A wrong type or a value out of range is always a `BadParam`. Whatever
happened is in the receipt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from adapters.errors import BadParam
from adapters.table import paths
from adapters.table.param import Approximation, Fields, Param, convert_value, validate
from adapters.table.receipt import Receipt, ReceiptLine, format_fields, make_line

GATEWAY_PARAMS = frozenset({"model", "n", "response_format", "stream", "user", "safety_identifier"})
"""What the gateway itself honours or may leave out under every policy."""

_CALLBACK_NAME = re.compile(r"webhook|callback|notify", re.IGNORECASE)
"""Names by which a provider would be told to call an address of the client's: never sent."""
_MAX_DEPTH = 64
"""How deep a value can be nested: no parameter of anybody's needs more."""
_NESTED = (dict, list)
_LOSSY_VERBS = frozenset({"dropped", "rounded", "clamped"})
"""The verbs that say: not what was asked for."""

_NEUTRAL_VALUES = frozenset({"auto", "false"})
"""Values that ask for nothing: leaving them out loses nothing."""


class UnsupportedPolicy(Enum):
    """What becomes of a value that the provider cannot express."""

    ADAPT = "adapt"
    """Send the nearest, or leave it out, and say so."""
    STRICT = "strict"
    """Answer 400, by name."""
    PASS = "pass"  # noqa: S105 - a word, no password
    """As `ADAPT`, but a parameter that no row knows goes on as it is."""


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
    unknown_under: str = ""
    reserved: frozenset[str] = frozenset()
    closed: bool = False
    _by_name: dict[str, Param] = field(init=False, repr=False, compare=False)
    _rows_with_default: tuple[Param, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look the rows over once, not for each call."""
        # The way to set a field of a frozen dataclass.
        object.__setattr__(self, "_by_name", {row.name: row for row in self.rows})
        with_default = tuple(row for row in self.rows if row.default is not None)
        object.__setattr__(self, "_rows_with_default", with_default)

    @property
    def images_per_call(self) -> int:
        """How many pictures one conversation can make: the bound of the row `n`, else 1."""
        row = self.row("n")
        return int(row.high or 10) if row else 1

    def row(self, name: str) -> Param | None:
        """Give the row of a client's parameter."""
        return self._by_name.get(name)

    def translate(
        self,
        params: Mapping[str, Any],
        policy: UnsupportedPolicy = UnsupportedPolicy.ADAPT,
        *,
        n: int = 1,
        provider: str = "This provider",
        suppressed: frozenset[str] = frozenset(),
    ) -> Translation:
        """Turn a client's parameters into the provider's fields, and say what became of each.

        `n` is the number of pictures for this one call, `provider` the name for refusals;
        `withheld` are the rows that are of no use here. Where two parameters say the same field,
        the later one counts. Raises `BadParam`.
        """
        asked = {name: value for name, value in params.items() if value is not None}
        made = {name: self._convert(name, value, policy, n) for name, value in asked.items()}
        made |= {name: {} for name in asked.keys() & suppressed}
        defaults = self._default_fields(made, suppressed, n)
        fields = self._merge({**made, **defaults})
        lines: list[ReceiptLine] = []
        for name, value in asked.items():
            row, kept = self.row(name), _without_overwritten(made[name], fields)
            if policy is UnsupportedPolicy.STRICT and len(kept) < len(made[name]):
                _raise_contradiction(name, made[name].keys() - kept.keys(), provider)
            if line := make_line(name, value, kept, row):
                if policy is UnsupportedPolicy.STRICT and line.verb in _LOSSY_VERBS:
                    _raise_unsupported(line, row, provider)
                lines.append(line)
        for name, taken in defaults.items():
            row = self.row(name)
            if row and (name, row.default) != ("n", 1):
                lines.append(ReceiptLine("defaulted", format_fields(taken, row)))
        return Translation(fields, Receipt(tuple(lines)))

    def _convert(self, name: str, value: Any, policy: UnsupportedPolicy, n: int) -> Fields:
        """Give the fields of one parameter; raises `BadParam`."""
        validate(name, value)
        if isinstance(value, _NESTED):
            _collect_names(name, value)
        if row := self.row(name):
            return convert_value(row, value, n)
        if (
            policy is not UnsupportedPolicy.PASS
            or self.closed
            or name in GATEWAY_PARAMS | self.reserved
            or "." in name
        ):
            return {}
        if not name.isprintable():  # It could end a line in the head of a form's part.
            return {}
        if not isinstance(value, dict) and any(
            it.target.startswith(f"{name}.") for it in self.rows
        ):
            return {}
        place = f"{self.unknown_under}.{name}" if self.unknown_under not in ("", name) else name
        return (
            {} if any(map(_CALLBACK_NAME.search, _collect_names(name, value))) else {place: value}
        )

    def _default_fields(
        self, made: Mapping[str, Fields], withheld: frozenset[str], n: int
    ) -> dict[str, Fields]:
        """Give what is taken where the client said nothing about it, in any of its names."""
        silent = [
            it
            for it in self._rows_with_default
            if it.name not in withheld and not made.get(it.name)
        ]
        taken = {
            row.name: convert_value(row, row.default, n)
            for row in silent
            if not _has_alternative(row, made)
        }
        said = self._merge(made) if taken else {}
        return {
            name: fields
            for name, fields in taken.items()
            if not any(paths.is_occupied(said, target) for target in fields)
        }

    def _merge(self, made: Mapping[str, Fields]) -> dict[str, Any]:
        """Join what was made of each parameter, under the constants; what no row knows first."""
        fields: dict[str, Any] = {}
        for name, part in made.items():
            if part and name not in self._by_name:
                paths.set_paths(fields, part)
        for name, part in made.items():
            if part and name in self._by_name:
                paths.set_paths(fields, part)
        paths.set_paths(fields, self.constant)
        return fields


@dataclass(frozen=True, slots=True, repr=False)
class Translation:
    """What a table made of a client's parameters."""

    fields: dict[str, Any]
    receipt: Receipt


def passthrough_receipt(
    params: Mapping[str, Any], suppressed: Collection[str], policy: UnsupportedPolicy, provider: str
) -> Receipt:
    """Say which parameters do not go to a provider that gets all others as they are.

    Raises `BadParam` where the policy leaves nothing out.

    >>> str(passthrough_receipt({"prompt": "a cube", "size": "auto"}, {"size"}, UnsupportedPolicy.ADAPT, "Acme"))
    'dropped size=auto'
    """
    if params.keys().isdisjoint(suppressed):
        return Receipt()
    asked = [(name, it) for name, it in params.items() if name in suppressed and it is not None]
    lines = tuple(line for name, it in asked if (line := make_line(name, it, {}, None)))
    for line in lines if policy is UnsupportedPolicy.STRICT else ():
        _raise_unsupported(line, None, provider)
    return Receipt(lines)


def _has_alternative(row: Param, made: Mapping[str, Fields]) -> bool:
    return any(made.get(name) for name in row.default_unless)


def _collect_names(name: str, value: Any) -> set[str]:
    """Give a parameter's name and every name in its value; raises where that is too deep."""
    places, found = [value], {name}
    for _ in range(_MAX_DEPTH):
        objects = [place for place in places if isinstance(place, dict)]
        found.update(*objects)
        places = [it for place in objects for it in place.values()] + [
            it for place in places if isinstance(place, list) for it in place
        ]
        if not places:
            return found
    raise BadParam(name, f"'{name}' must not be nested more than {_MAX_DEPTH} levels deep.")


def _raise_contradiction(name: str, fields: Iterable[str], provider: str) -> None:
    """Raise for a parameter that another one contradicts."""
    raise BadParam(
        name,
        f"'{name}' is {' and '.join(sorted(fields))} for {provider}, and another parameter says "
        "that otherwise. Leave one of them out, or send x-easel-unsupported: adapt.",
        code="unsupported_parameter",
    )


def _raise_unsupported(line: ReceiptLine, row: Param | None, provider: str) -> None:
    """Raise for a parameter that would be left out or changed, unless nothing is lost by it."""
    if line.name in GATEWAY_PARAMS or line.value in _NEUTRAL_VALUES:
        return
    if (line.name, line.value) == ("partial_images", "0"):
        return
    nearest = ""
    if line.outcome:
        nearest = f" The nearest it has is {line.outcome.replace(';', ', ')}."
    elif row and isinstance(row.convert, Mapping):
        nearest = f" It can do {', '.join(map(str, row.convert))}."
    elif row and row.choices:
        nearest = f" It can do {', '.join(map(str, row.choices))}."
    what = f"'{line.name}' = {line.value}" if line.value else f"'{line.name}'"
    raise BadParam(
        line.name,
        f"{provider} has nothing for {what}.{nearest} "
        "Leave it out or change it, or send x-easel-unsupported: adapt.",
        code="unsupported_parameter",
    )


def _without_overwritten(made: Fields, fields: Fields) -> Fields:
    """Give those of a parameter's fields that nothing later says otherwise."""
    if not made or all(fields.get(target) is content for target, content in made.items()):
        return made
    kept = {
        target: it
        for target, it in made.items()
        if paths.contains(paths.get_path(fields, target), it)
    }
    return Approximation(kept) if isinstance(made, Approximation) else kept
