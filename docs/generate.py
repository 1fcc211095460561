"""Generates parts of the docs: `make docs`.

The tables of providers and options come from the adapters, the benchmark table of the README from
the results of `make bench` (unchanged if there are none). A test checks that the pages in the
repository are up to date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

import adapters
from adapters.contract import Adapter
from adapters.table.describe import describe_parameters, event_source
from adapters.table.table import Table

PAGES = Path(__file__).parent
README = "../README.md"
RESULTS = PAGES.parent / "bench" / "results.json"
BEGIN, END = "<!-- generated: make docs -->\n", "<!-- end of what is generated -->\n"
_MAX_LIST_LENGTH = 160


def render(page: str) -> str:
    """Return a page with its generated part replaced."""
    text = (PAGES / page).read_text(encoding="utf-8")
    generated = WRITERS[page]()
    if not generated:
        return text
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: BEGIN + "\n" + generated + "\n" + END, text)


def providers() -> str:
    """Return the table of all providers, and a section for each with its models' parameters."""
    providers = [adapters.get_adapter(name) for name in adapters.PROVIDERS]
    head = [
        "| id | aliases | images as | images per call | events | confidence |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *map(_summary, providers), "", *map(_section, providers)])


def options() -> str:
    """Return the table of all providers' options, as headers."""
    rows = ["| provider | header | meaning |", "| --- | --- | --- |"]
    for adapter in map(adapters.get_adapter, adapters.PROVIDERS):
        for option in adapter.options:
            also = "".join(f", `{header}`" for header in option.headers)
            header = "(settings only)" if option.operator_only else f"`{option.header}`{also}"
            name = f"`{option.name}`" if option.operator_only else ""
            rows.append(f"| `{adapter.id}` | {name}{header} | {_cell(option.description)} |")
    return "\n".join([*rows, ""])


def performance() -> str:
    """Return the short table of the comparison with other gateways, "" without results."""
    if not RESULTS.exists():
        return ""
    result = orjson.loads(RESULTS.read_bytes())
    about, (head, *rows) = result["about"], _short(result["summary"])
    if not rows:
        return ""
    lines = [
        f"{about['date']}, {about['machine']}, medians of {about['rounds']} rounds:",
        "",
        head,
        "| --- |" + " ---: |" * (head.count("|") - 2),
        *rows,
        "",
    ]
    return "\n".join(lines)


def _short(summary: dict[str, Any]) -> Iterator[str]:
    for row in (summary["head"], *summary["rows"]):
        yield f"| {' | '.join(row)} |"


def _summary(adapter: Adapter) -> str:
    also = ", ".join(f"`{alias}`" for alias, name in adapters.ALIASES.items() if name == adapter.id)
    tables = list(_families(adapter))
    most = max(table.images_per_call for _, table in tables)
    lifetime = f"URL, {_age(adapter.url_lifetime)}" if adapter.url_lifetime else "data"
    own = any(event_source(adapter, table) == "provider" for _, table in tables)
    mark = " (experimental)" if adapter.experimental else ""
    cells = (
        f"[`{adapter.id}`](#{adapter.id})",
        also,
        lifetime,
        str(most),
        "provider's own" if own else "one per image",
        adapter.confidence + mark,
    )
    return f"| {' | '.join(cells)} |"


def _section(adapter: Adapter) -> str:
    models = ", ".join(f"`{model}`" for model in adapter.models)
    known = f"confidence: {adapter.confidence}{', experimental' if adapter.experimental else ''}"
    lines = [
        f"### {adapter.id}",
        "",
        f"{adapter.name}. [Documentation]({adapter.docs}), {adapter.docs_checked_on}; {known}.",
        "",
        f"Known models: {models}.",
        "",
    ]
    if adapter.unconfirmed:
        lines += [f"Unconfirmed: {adapter.unconfirmed}.", ""]
    for name, table in _families(adapter):
        lines += [f"**{name}**", "", *_table(table), ""]
    return "\n".join(lines)


def _families(adapter: Adapter) -> Iterator[tuple[str, Table]]:
    """Yield each table of an adapter once, with the names of its models."""
    found: list[tuple[Table, list[str]]] = []
    for name, model in _named(adapter):
        table = adapter.table_for(model)
        names = next((names for known, names in found if known.rows == table.rows), None)
        if names is None:
            found.append((table, names := []))
        names.append(name)
    for table, names in found:
        yield ", ".join(names), table


def _named(adapter: Adapter) -> Iterator[tuple[str, str]]:
    """Yield models and model prefixes as text, each with a model name that selects its table."""
    yield from ((f"`{model}`", model) for model in adapter.models)
    for starts, _ in adapter.tables_by_model:
        for start in (starts,) if isinstance(starts, str) else starts:
            if start and not any(model.startswith(start) for model in adapter.models):
                yield f"`{start}…`", start
    yield "any other model", ""


def _table(table: Table) -> list[str]:
    described = describe_parameters(table)
    rows = [
        f"| `{row['name']}` | {_client_value(row)} | {_provider_value(row)} |" for row in described
    ]
    return ["| parameter | client value | provider value |", "| --- | --- | --- |", *rows]


def _client_value(row: dict[str, Any]) -> str:
    words = [row["type"]]
    if choices := row.get("enum"):
        words = [_listed(choices)]
    if pattern := row.get("pattern"):
        words = ["`auto` or `WxH`" if row["name"] == "size" else f"of the form `{_cell(pattern)}`"]
    low = row.get("minimum", row.get("minLength"))
    high = row.get("maximum", row.get("maxLength", row.get("maxItems")))
    if low is not None and high is not None:
        words.append(f"{low:,} to {high:,}")
    elif low is not None or high is not None:
        words.append(f"at least {low:,}" if high is None else f"at most {high:,}")
    return ", ".join(words)


_OWN_VALUES = {
    "own_values": "the provider's own values `{}` unchanged",
    "also_as": "a client may write `{}`, too",
}


def _provider_value(row: dict[str, Any]) -> str:
    words = []
    if sent_as := row.get("sent_as"):
        words.append(f"`{sent_as}`")
    conversion = row.get("conversion")
    if isinstance(conversion, dict):
        words.append(_listed([f"{client}→{it}" for client, it in conversion.items()]))
    elif conversion:
        words.append(_cell(conversion))
    for bound, label in (("minimum", "at least"), ("maximum", "at most"), ("maxLength", "at most")):
        if (own := row.get(f"provider_{bound}")) is not None:
            words.append(f"{label} {own:,}" + (" characters" if bound == "maxLength" else ""))
    if own := row.get("provider_enum"):
        words.append("only " + _listed(own))
    words.extend(text.format(_cell(row[key])) for key, text in _OWN_VALUES.items() if key in row)
    if "default" in row:
        words.append(f"`{_json(row['default'])}` by default")
    if about := row.get("about"):
        words.append(_cell(about))
    return "; ".join(words) or "unchanged"


def _listed(values: list[Any]) -> str:
    text = ", ".join(f"`{_cell(str(value))}`" for value in values)
    if len(text) <= _MAX_LIST_LENGTH:
        return text
    return text[:_MAX_LIST_LENGTH].rpartition(", ")[0] + " …"


def _json(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _age(seconds: int) -> str:
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} seconds"


WRITERS = {"providers.md": providers, "headers.md": options, README: performance}
"""The function that generates each page's part."""


if __name__ == "__main__":
    for name in WRITERS:
        (PAGES / name).write_text(render(name), encoding="utf-8")
