"""No parameter disappears: every table of every provider, from the client's word to the wire.

The law: whatever a table accepts stands in the provider's request as it is, or a line of the
receipt says what became of it, and the line is true. The requests are those that the adapters
really make.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import log
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters import PROVIDERS, get_adapter
from adapters.contract import Credentials, ImageCall
from adapters.errors import BadParam, ImageError
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import STANDARD_PARAMS, Approximation, Param
from adapters.table.receipt import Receipt, ReceiptLine
from adapters.table.table import GATEWAY_PARAMS, Table, UnsupportedPolicy
from adapters.tools.sizes import Converter, parse_size
from tests.support import boundary_values
from tests.support.transcripts import transcripts_of, translated

PROMPT = "a cube at dusk"
SILENT = frozenset({"model", "n", "response_format", "stream"})
"""What the gateway honours itself: no line is owed."""
NEUTRAL = frozenset({"auto", "false"})
HOOKS = ("webhook", "callback_url", "notifyHook")
UNKNOWN: dict[str, Any] = {
    "turbo": 4711,
    "never_heard_of": {"a": [1, {"b": "deep"}]},
    "loud": True,
    "motto": "as it is",
    "nested": {"extra": [{"webhook": "https://evil.test"}]},
    **dict.fromkeys(HOOKS, "https://evil.test"),
}
SAME_WORDS = frozenset({"renamed", "converted", "passed", "defaulted"})
"""The verbs of lines that strict lets pass."""

SLOTS = {it: f"{{{{{it}}}}}" for it in ("prompt", "negative_prompt", "seed", "width", "height")}
GRAPHS: dict[str, dict[str, Any]] = {
    "comfyui": {"comfyui_workflow": {"1": {"class_type": "All", "inputs": SLOTS}}},
    "invokeai": {"invokeai_graph": {"nodes": {"1": {"type": "all", **SLOTS}}, "edges": []}},
}
"""Graphs of the operator's that ask for everything."""


@dataclass(frozen=True)
class Family:
    """One table, with a model, credentials and replies by which its conversation begins."""

    provider: str
    model: str
    table: Table
    credentials: Credentials
    replies: tuple[ProviderReply, ...] = ()

    def sent(self, params: Mapping[str, Any], policy: UnsupportedPolicy) -> Sent:
        """Translate as the gateway does, and give the first request that has a body."""
        params = {"model": self.model, **params}
        call, receipt = translated(get_adapter(self.provider), params, self.credentials, policy)
        flow = get_adapter(self.provider).flow(call)
        request = next(flow)
        for reply in self.replies:
            if request.method != "GET":
                break
            request = flow.send(reply)
        return Sent(call, receipt, request, self.table)


@dataclass(frozen=True)
class Sent:
    """What became of a call."""

    call: ImageCall
    receipt: Receipt
    request: ProviderRequest
    table: Table

    def line(self, name: str) -> ReceiptLine | None:
        return next((it for it in self.receipt.lines if it.name == name), None)


@cache
def families(provider: str) -> list[Family]:
    """Give a family for every table of a provider."""
    found, made = get_adapter(provider), list[Family]()
    written = sorted(transcripts_of(provider), key=lambda one: one.kind != "success")
    named = [one.call.get("model", "") for one in written]
    for model in dict.fromkeys([*named, *found.models, "some/thing", "never-heard-of-it", ""]):
        for one in written:
            credentials = one.credentials
            if provider in GRAPHS:
                graphs = {name: orjson.dumps(it).decode() for name, it in GRAPHS[provider].items()}
                credentials = Credentials("", graphs)
            table = found.table_for(found.effective_model(model, credentials))
            replies = one.exchanges if one.call.get("model") == model else []
            family = Family(
                *(provider, model, table, credentials),
                tuple(it.reply.received() for it in replies),
            )
            if table not in [it.table for it in made] and not found.missing_credentials(
                credentials
            ):
                with suppress(ImageError, StopIteration):
                    if (
                        family.sent({"prompt": PROMPT}, UnsupportedPolicy.ADAPT).request.method
                        != "GET"
                    ):
                        made.append(family)
    return made


FAMILIES = [
    family
    for provider in PROVIDERS
    if not get_adapter(provider).passthrough
    for family in families(provider)
]

every_table = pytest.mark.parametrize(
    "family", FAMILIES, ids=lambda it: f"{it.provider}/{it.model}"
)


def a_few(examples: int) -> settings:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


_EDGE = -(2**53)
SIZES = st.one_of(
    st.sampled_from(boundary_values.SIZES),
    st.builds("{}x{}".format, st.integers(10, 99_999), st.integers(10, 99_999)),
    st.builds("{}x{}".format, st.integers(256, 4096), st.integers(256, 4096)),
)


@cache
def any_value(rule: Param) -> st.SearchStrategy[Any]:
    """Give what a rule allows."""
    if rule.name == "size":
        return SIZES
    if rule.name == "prompt":
        return st.just(PROMPT)
    if rule.kind is int and not rule.choices:
        low, high = rule.low, rule.high
        return st.integers(_EDGE if low is None else int(low), 2**53 if high is None else int(high))
    if rule.kind is float and not rule.choices:
        return st.floats(rule.low, rule.high, allow_nan=False, allow_infinity=False)
    return st.sampled_from(boundary_values.inside(rule))


@st.composite
def any_params(draw: st.DrawFn, table: Table) -> dict[str, Any]:
    """Draw parameters in any order: the contract's, the table's, unknown ones, its own fields."""
    rules = {name: boundary_values.rule(table, name) for name in STANDARD_PARAMS}
    rules |= {row.name: boundary_values.rule(table, row.name) for row in table.rows}
    fields = [row.target.split(".")[0] for row in table.rows] + list(table.constant)
    strange = UNKNOWN | {
        it.split(".")[0]: "mine"
        for it in (*fields, *table.reserved)
        if it.split(".")[0] not in rules
    }
    names = draw(
        st.lists(st.sampled_from([*sorted(rules), *sorted(strange)]), unique=True, max_size=9)
    )
    chosen = ["prompt", *(it for it in names if it not in ("model", "prompt"))]
    return {it: draw(any_value(rules[it])) if it in rules else strange[it] for it in chosen}


def accepted(family: Family, params: Mapping[str, Any], policy: UnsupportedPolicy) -> Sent:
    """Send what the family takes of some parameters; what it refuses, it refuses by name."""
    taken = dict(params)
    while len(taken) > 1:
        try:
            return family.sent(taken, policy)
        except BadParam as error:
            unnamed = get_adapter(family.provider).name not in error.message
            if unnamed and error.code == "unsupported_parameter":
                raise
            if taken.pop(error.param or "", PROMPT) == PROMPT:
                raise
    return family.sent(taken, policy)


@every_table
@a_few(8)
@given(data=st.data())
def test_a_parameter_is_sent_as_it_is_or_has_a_true_line(
    family: Family, data: st.DataObject
) -> None:
    policy = data.draw(st.sampled_from(UnsupportedPolicy))
    sent = accepted(family, data.draw(any_params(family.table)), policy)
    for name, value in sent.call.params.items():
        line = sent.line(name)
        row = sent.table.row(name)
        is_so = name in SILENT or (row is not None and value in row.implied)
        if line is None and not is_so:
            assert holds(at(sent.call.fields, name), value), f"{name} has no line"
    for line in sent.receipt.lines:
        assert is_true(line, sent), line
        assert policy is not UnsupportedPolicy.STRICT or loses_nothing(line), line
    there = list(leaves(everything(sent.request)))
    for key, value in leaves(sent.call.fields):
        is_sent = any(stands(key, value, *leaf) for leaf in there)
        assert is_sent or (family.provider, key) in SAID_OTHERWISE, f"{key} = {value!r} is not sent"
    assert not [value for _, value in there if "evil.test" in str(value)]


SHAPED = [it for name in PROVIDERS if get_adapter(name).passthrough for it in families(name)]


@pytest.mark.parametrize("family", SHAPED, ids=lambda it: f"{it.provider}/{it.model}")
@a_few(12)
@given(data=st.data())
def test_a_provider_of_the_clients_shape_gets_what_has_no_line(
    family: Family, data: st.DataObject
) -> None:
    sent = accepted(family, data.draw(any_params(family.table)), UnsupportedPolicy.ADAPT)
    body = everything(sent.request)["json"]
    for name, value in sent.call.params.items():
        assert name in SILENT or sent.line(name) or body.get(name) == value, f"{name} has no line"


# Sizes


@dataclass(frozen=True)
class Rule:
    """What a converter says of itself, read back."""

    low: int
    high: int
    step: int
    least: int
    most: int
    widest: float

    @classmethod
    def read(cls, says: str) -> Rule:
        """Read the bounds of a size in pixels."""
        span = r"(?:at least ([0-9,]+)|at most ([0-9,]+)|([0-9,]+) to ([0-9,]+))"
        found = re.fullmatch(
            rf"pixels, each side {span}(?: in steps of ([0-9]+))?(?:, {span} pixels in all)?"
            r", the ratio kept(?: up to ([0-9.]+):1)?",
            says,
        )
        assert found, says
        told = [float(it.replace(",", "")) if it else None for it in found.groups()]
        lowest, highest, low, high, step, fewest, greatest, least, most, widest = told
        bounds = (low or lowest or 1, high or highest or 99_999, step or 1)
        areas = (least or fewest or 1, most or greatest or 99_999**2)
        low, high, step, least, most = map(int, (*bounds, *areas))
        return cls(low, high, step, least, most, widest or 99_999)

    def allows(self, width: int, height: int) -> bool:
        return (
            all(self.low <= it <= self.high and it % self.step == 0 for it in (width, height))
            and self.least <= width * height <= self.most
            and max(width, height) <= self.widest * min(width, height)
        )

    def is_near(self, asked: tuple[int, int], sent: tuple[int, int]) -> bool:
        """Tell whether sides are those asked for, scaled alike, to within a step each."""
        within = [
            ((it - self.step) / side, (it + self.step) / side)
            for side, it in zip(asked, sent, strict=True)
        ]
        return max(low for low, _ in within) <= min(high for _, high in within)

    def is_forced(self, asked: tuple[int, int], sent: tuple[int, int]) -> bool:
        """Tell whether a bound keeps the ratio from being kept."""
        edge = min(sent) - self.step < self.low or max(sent) + self.step > self.high
        return edge or max(asked) > self.widest * min(asked)


CONVERTERS = {
    f"{it.provider}: {row.convert.description}": row.convert
    for it in FAMILIES
    if (row := it.table.row("size")) and isinstance(row.convert, Converter)
}

every_converter = pytest.mark.parametrize("convert", CONVERTERS.values(), ids=list(CONVERTERS))


def pixels_in(made: Mapping[str, Any]) -> tuple[int, int] | None:
    """Read the pixels that some fields say; None where they say a ratio."""
    sides = [it for it in made.values() if isinstance(it, int)]
    if sides:
        return sides[0], sides[1]
    texts = (re.fullmatch(r"([0-9]+)(?:[x*]|(?<=...):)([0-9]+)", str(it)) for it in made.values())
    return next(((int(it[1]), int(it[2])) for it in texts if it), None)


def distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Tell how far apart two ratios are."""
    return abs(log(one[0] / one[1]) - log(other[0] / other[1]))


def offered(says: str, cross: str) -> list[tuple[float, float]]:
    """Read the sizes or ratios that a converter says it chooses from."""
    found = re.findall(rf"([0-9.]+){cross}([0-9.]+)", says.partition(";")[0])
    return [(float(width), float(height)) for width, height in found]


@every_converter
@a_few(15)
@given(size=SIZES)
def test_a_size_keeps_the_rule_that_it_is_said_to_keep(convert: Converter, size: str) -> None:
    made, asked = convert(size), parse_size(size)
    if asked is None:
        assert made == {}
    elif convert.description.startswith("pixels, each"):
        sent, rule = pixels_in(made), Rule.read(convert.description)
        assert sent
        assert rule.allows(*sent)
        assert rule.is_near(asked, sent) or rule.is_forced(asked, sent)
        assert isinstance(made, Approximation) is (sent != asked)
    elif convert.description.startswith("the nearest of"):
        sent, listed = pixels_in(made), offered(convert.description, "x")
        assert sent
        assert min(distance(sent, it) for it in listed) == 0
        assert distance(asked, sent) <= min(distance(asked, it) for it in listed) + 0.001
        assert isinstance(made, Approximation) is (sent != asked)
    elif convert.description.startswith("the nearest ratio"):
        meant = MEANT.get(asked, asked)
        best = min(offered(convert.description, ":"), key=lambda it: distance(meant, it))
        word, *_ = made.values()
        assert word == next(iter(convert(f"{best[0] * 400:.0f}x{best[1] * 400:.0f}").values()))
        assert isinstance(made, Approximation) is (distance(asked, best) > SAME)


MEANT = {(1792, 1024): (16, 9), (1024, 1792): (9, 16)}
"""What OpenAI calls its landscape and its portrait."""
SAME = 0.001


def test_an_automatic_size_is_as_good_as_none() -> None:
    for family in FAMILIES:
        silent = family.table.translate({})
        automatic = family.table.translate({"size": "auto"})
        assert automatic.fields == silent.fields, f"{family.provider}/{family.model}"


SAID_OTHERWISE = {
    ("comfyui", "n"): "by as many runs",
    ("minimax", "response_format"): "its events hold URLs only, which the gateway opens",
    ("ideogram", "transparent"): "by the path",
    ("replicate", "input"): "it is an empty object: the inputs are merged into the others",
}
"""Fields that do not go out under their own name, and how they do."""


def is_true(line: ReceiptLine, sent: Sent) -> bool:
    """Tell whether what a line says of the request is so."""
    asked, fields = sent.call.params.get(line.name), sent.call.fields
    if line.verb == "renamed":
        there = [at(fields, field) for field in line.outcome.split(";")]
        return line.name == "prompt" or there == [asked]
    if line.verb == "passed":
        return asked in (
            fields.get(line.name),
            at(fields, f"{sent.table.unknown_under}.{line.name}"),
        )
    told = re.findall(r"([^;=]+)=([^;]*)", line.outcome)
    return all(plain(at(fields, field)) == said for field, said in told)


def loses_nothing(line: ReceiptLine) -> bool:
    """Tell whether a line says that the request is what was asked for."""
    asks_for_nothing = line.value in NEUTRAL or (line.name, line.value) == ("partial_images", "0")
    return line.verb in SAME_WORDS or line.name in GATEWAY_PARAMS or asks_for_nothing


def holds(there: Any, value: Any) -> bool:
    """Tell whether a value is there; to an object, other parameters may have added."""
    if isinstance(there, Mapping) and isinstance(value, Mapping):
        return all(holds(there.get(name), it) for name, it in value.items())
    return bool(there == value)


def at(fields: Any, target: str) -> Any:
    for step in target.split("."):
        fields = fields.get(step) if isinstance(fields, Mapping) else None
    return fields


def plain(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9_.:*/-]", "?", text)[:64]


def everything(request: ProviderRequest) -> dict[str, Any]:
    """Give all of a request that can hold a parameter."""
    form = {name: opened(text) for name, text in (request.form or {}).items()}
    tree = orjson.loads(request.content) if request.content else request.json
    return {"json": tree, "form": form, "headers": dict(request.headers), "path": request.path}


def opened(text: str) -> Any:
    """Read a field of a form that is JSON; any other is a text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Give every number, text and empty thing of a tree with the name that it has there."""
    if tree and isinstance(tree, Mapping):
        for name, it in tree.items():
            yield from leaves(it, str(name))
    elif tree and isinstance(tree, list):
        for it in tree:
            yield from leaves(it, key)
    else:
        yield key, tree


def stands(key: str, value: Any, other: str, found: Any) -> bool:
    """Tell whether a leaf of a request is one that the table made, maybe by another name."""
    same = (type(found) is type(value) and found == value) or str(value) == str(found)
    telling = isinstance(value, str) or (not isinstance(value, bool) and len(str(value)) > 2)
    return same and (key == other or telling)
