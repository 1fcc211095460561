"""`Table`, which translates a client's parameters for one model family of a provider.

The policy decides what happens to a value that the provider does not support. Under `adapt` it
becomes the nearest supported value or is dropped. Under `strict` both are an error. `pass` is like
`adapt`, but parameters without a row are sent unchanged. A wrong type or a value out of range is
always a `BadParam`. The receipt lists every change.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from adapters.errors import BadParam
from adapters.table import paths
from adapters.table.param import (
    STANDARD_PARAMS,
    Approximation,
    Fields,
    Param,
    accepts,
    convert_value,
    is_own_value,
    own_values,
    validate,
    whole,
)
from adapters.table.receipt import Receipt, ReceiptLine, format_fields, make_line

GATEWAY_PARAMS = frozenset({"model", "n", "response_format", "stream", "user", "safety_identifier"})
"""Parameters that the gateway itself handles, or may drop under every policy."""

_CALLBACK_NAME = re.compile(r"webhook|callback|notify", re.IGNORECASE)
"""Names of parameters that make a provider call a URL of the client's; never sent."""
_PARAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
"""Unknown names that a receipt repeats; any other may be a text of the client's."""
_MAX_SUGGESTED = 10
"""Unknown parameters of one request that are compared with the known ones."""
_MAX_DEPTH = 64
"""Maximum nesting depth of a value; no provider's parameter needs more."""
_NESTED = (dict, list)
_LOSSY_VERBS = frozenset({"dropped", "rounded", "clamped"})
"""Verbs of receipt lines that mean: not what the client asked for."""

_NEUTRAL_VALUES = frozenset({"auto", "false"})
"""Values whose omission changes nothing."""


class UnsupportedPolicy(Enum):
    """What to do with a value that the provider does not support."""

    ADAPT = "adapt"
    """Send the nearest supported value, or drop it."""
    STRICT = "strict"
    """Raise `BadParam` for that parameter."""
    PASS = "pass"  # noqa: S105 - a word, no password
    """Like `ADAPT`, but parameters without a row are sent unchanged."""


TablesByModel = tuple[tuple[str | tuple[str, ...], "Table"], ...]
"""Tables by the prefix, or prefixes, of the model's name; the last one has the prefix ""."""


@dataclass(frozen=True, slots=True)
class Table:
    """The parameters of one model family. `constant` fields are always sent.

    Under the policy `PASS`, unknown parameters are placed in the object named `unknown_under`,
    except those in `reserved`, which the adapter itself sets. A `closed` table passes none.

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
    _by_field: dict[str, Param] = field(init=False, repr=False, compare=False)
    """The rows whose field has the name of a standard parameter that they are not."""
    _rows_with_default: tuple[Param, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the rows once, not in each call."""
        # object.__setattr__ is how a frozen dataclass sets its own fields.
        object.__setattr__(self, "_by_name", {row.name: row for row in self.rows})
        by_field = {
            row.field: row
            for row in self.rows
            if row.field in STANDARD_PARAMS.keys() - GATEWAY_PARAMS
            and row.name not in STANDARD_PARAMS
        }
        object.__setattr__(self, "_by_field", by_field)
        with_default = tuple(row for row in self.rows if row.default is not None)
        object.__setattr__(self, "_rows_with_default", with_default)

    @property
    def images_per_call(self) -> int:
        """The maximum number of images in one conversation: `high` of the row `n`, else 1."""
        row = self.row("n")
        return int(row.high or 10) if row else 1

    def row(self, name: str) -> Param | None:
        """Return the row of a client's parameter, None if there is none."""
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
        """Return the provider's fields for a client's parameters, with the receipt.

        `n` is the number of images for this one call, `provider` the name used in error messages,
        `suppressed` are parameters that are not sent. If two parameters set the same field, the
        later one wins. Raises `BadParam`.
        """
        sent = {name: value for name, value in params.items() if value is not None}
        parts = {name: self._convert(name, value, policy, n) for name, value in sent.items()}
        parts |= {name: {} for name in sent.keys() & suppressed}
        defaults = self._default_fields(parts, suppressed, n)
        fields = self._merge({**parts, **defaults})
        lines: list[ReceiptLine] = []
        for name, value in sent.items():
            row = self.row(name) or self._by_field.get(name)
            part = _without_overwritten(parts[name], fields)
            if policy is UnsupportedPolicy.STRICT and len(part) < len(parts[name]):
                _raise_contradiction(name, parts[name].keys() - part.keys(), provider)
            if line := make_line(name, value, part, row):
                if policy is UnsupportedPolicy.STRICT and line.verb in _LOSSY_VERBS:
                    _raise_unsupported(line, row, provider)
                lines.append(line)
        for name, part in defaults.items():
            row = self.row(name)
            if row and (name, row.default) != ("n", 1):
                lines.append(ReceiptLine("defaulted", format_fields(part, row)))
        return Translation(fields, Receipt(tuple(lines)))

    def _convert(self, name: str, value: Any, policy: UnsupportedPolicy, n: int) -> Fields:
        """Return the fields of one parameter. Raises `BadParam`."""
        row = self.row(name)
        value = whole(row, value)
        try:
            validate(name, value)
        except BadParam as error:
            row = self._row_of_own_value(name, value, error)
            if row.name == name:
                return {row.target: value}
        if isinstance(value, _NESTED):
            _collect_names(name, value)
        if row:
            return convert_value(row, value, n)
        if policy is UnsupportedPolicy.PASS and self._may_pass(name, value):
            is_nested = self.unknown_under not in ("", name)
            return {f"{self.unknown_under}.{name}" if is_nested else name: value}
        return {}

    def _row_of_own_value(self, name: str, value: Any, error: BadParam) -> Param:
        """Return the row by which a value that is none of OpenAI's is one of the provider's own.

        Raises `error` if there is none.
        """
        row, own = self.row(name), self._by_field.get(name)
        if row and is_own_value(row, value):
            return row
        if own and accepts(own, value):
            return own
        listed = own.choices if own else own_values(row) if row else ()
        hint = f" This provider's own: {', '.join(map(str, listed))}." if listed else ""
        raise BadParam(name, error.message + hint, code=error.code)

    def _may_pass(self, name: str, value: Any) -> bool:
        """Whether an unknown parameter may be sent unchanged."""
        if self.closed or name in GATEWAY_PARAMS | self.reserved or "." in name:
            return False
        if not name.isprintable():  # A line break could inject a header into a multipart body.
            return False
        if not isinstance(value, dict) and any(
            row.target.startswith(f"{name}.") for row in self.rows
        ):
            return False
        return not any(map(_CALLBACK_NAME.search, _collect_names(name, value)))

    def _default_fields(
        self, parts: Mapping[str, Fields], suppressed: frozenset[str], n: int
    ) -> dict[str, Fields]:
        """Return the fields of defaults that no parameter of the client's replaces."""
        defaults = {
            row.name: convert_value(row, row.default, n)
            for row in self._rows_with_default
            if row.name not in suppressed
            and not parts.get(row.name)
            and not any(parts.get(name) for name in row.default_unless)
        }
        sent = self._merge(parts) if defaults else {}
        return {
            name: fields
            for name, fields in defaults.items()
            if not any(paths.is_occupied(sent, target) for target in fields)
        }

    def _merge(self, parts: Mapping[str, Fields]) -> dict[str, Any]:
        """Merge the fields of all parameters: first unknown ones, then rows, then constants."""
        fields: dict[str, Any] = {}
        for name, part in parts.items():
            if part and name not in self._by_name:
                paths.set_paths(fields, part)
        for name, part in parts.items():
            if part and name in self._by_name:
                paths.set_paths(fields, part)
        paths.set_paths(fields, self.constant)
        return fields


@dataclass(frozen=True, slots=True, repr=False)
class Translation:
    """The provider's fields for a client's parameters, and the receipt."""

    fields: dict[str, Any]
    receipt: Receipt


def known_params(tables: TablesByModel) -> frozenset[str]:
    """Return OpenAI's parameters, and those of all tables."""
    return frozenset(STANDARD_PARAMS) | {row.name for _, table in tables for row in table.rows}


def passthrough_receipt(
    params: Mapping[str, Any],
    suppressed: Collection[str],
    policy: UnsupportedPolicy,
    provider: str,
    known: frozenset[str] = frozenset(),
) -> Receipt:
    """Return the receipt for a passthrough provider: only suppressed parameters are changed.

    `known` are the parameters of all its tables; any other is sent, and has a line that says so.
    Raises `BadParam` under the policy `STRICT`.

    >>> params, known = {"size": "auto", "qualty": "high"}, frozenset({"size", "quality"})
    >>> str(passthrough_receipt(params, {"size"}, UnsupportedPolicy.ADAPT, "Acme", known))
    'dropped size=auto, unknown qualty, did you mean quality'
    """
    unknown = params.keys() - known - {*suppressed} if known else ()
    if params.keys().isdisjoint(suppressed) and not unknown:
        return Receipt()
    sent = {name: params[name] for name in params if name in suppressed}
    lines = tuple(
        line
        for name, value in sent.items()
        if value is not None and (line := make_line(name, value, {}, None))
    )
    for line in lines if policy is UnsupportedPolicy.STRICT else ():
        _raise_unsupported(line, None, provider)
    misspelled = tuple(_unknown_lines(params, unknown, known)) if unknown else ()
    if misspelled and policy is UnsupportedPolicy.STRICT:
        line = misspelled[0]
        hint = f" Did you mean '{line.outcome}'?" if line.outcome else ""
        raise BadParam(
            line.name,
            f"{provider} documents no parameter '{line.name}'.{hint} Correct or remove it, or send "
            "x-easel-unsupported: adapt to have it sent as it is.",
            code="unsupported_parameter",
        )
    return Receipt(lines + misspelled)


def _unknown_lines(
    params: Mapping[str, Any], unknown: Collection[str], known: frozenset[str]
) -> Iterator[ReceiptLine]:
    """Yield a line for each unknown parameter; the first ones have a suggestion."""
    from difflib import get_close_matches  # noqa: PLC0415 - needed for misspelled names only

    suggested = 0
    for name in params:
        if name in unknown and params[name] is not None:
            close = get_close_matches(name[:64], known, n=1) if suggested < _MAX_SUGGESTED else ()
            suggested += 1
            shown = name if _PARAM_NAME.fullmatch(name) else "?"
            yield ReceiptLine("unknown", shown, "", close[0] if close else "")


def _collect_names(name: str, value: Any) -> set[str]:
    """Return a parameter's name and all names nested in its value.

    Raises `BadParam` if the value is nested too deep.
    """
    level, names = [value], {name}
    for _ in range(_MAX_DEPTH):
        objects = [node for node in level if isinstance(node, dict)]
        names.update(*objects)
        level = [child for node in objects for child in node.values()] + [
            child for node in level if isinstance(node, list) for child in node
        ]
        if not level:
            return names
    raise BadParam(name, f"'{name}' must not be nested more than {_MAX_DEPTH} levels deep.")


def _raise_contradiction(name: str, fields: Iterable[str], provider: str) -> None:
    """Raise `BadParam` for a parameter that another one contradicts."""
    raise BadParam(
        name,
        f"'{name}' sets {' and '.join(sorted(fields))} for {provider}, and so does another "
        "parameter, with another value. Remove one of them, or send x-easel-unsupported: adapt to "
        "have the last one used.",
        code="unsupported_parameter",
    )


def _raise_unsupported(line: ReceiptLine, row: Param | None, provider: str) -> None:
    """Raise `BadParam` for a parameter that would be dropped or changed, unless nothing is lost."""
    if line.name in GATEWAY_PARAMS or line.value in _NEUTRAL_VALUES:
        return
    if (line.name, line.value) == ("partial_images", "0"):
        return
    hint = ""
    if line.outcome:
        hint = f" The nearest supported value is {line.outcome.replace(';', ', ')}."
    elif row and (supported := row.convert if isinstance(row.convert, Mapping) else row.choices):
        hint = f" Supported values: {', '.join(map(str, supported))}."
    what = f"the parameter '{line.name}'"
    if hint and line.value:
        what = f"the value {line.value} of '{line.name}'"
    remedy, effect = ("Change it", "converted") if line.outcome else ("Remove it", "dropped")
    raise BadParam(
        line.name,
        f"{provider} does not support {what}.{hint} "
        f"{remedy}, or send x-easel-unsupported: adapt to have it {effect}.",
        code="unsupported_parameter",
    )


def _without_overwritten(part: Fields, fields: Fields) -> Fields:
    """Return those fields of a parameter that no later parameter overwrote."""
    if not part or all(fields.get(target) is value for target, value in part.items()):
        return part
    remaining = {
        target: value
        for target, value in part.items()
        if paths.contains(paths.get_path(fields, target), value)
    }
    return Approximation(remaining) if isinstance(part, Approximation) else remaining
