"""Descriptions of an adapter's parameters, as JSON for the API and the docs.

>>> from adapters import get_adapter
>>> described = describe_parameters(get_adapter("stability-ai").table_for("sd3.5-large"))
>>> next(row for row in described if row["name"] == "seed")
{'name': 'seed', 'type': 'integer', 'minimum': 0, 'maximum': 4294967294, 'about': '0 is random'}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from adapters.contract import Adapter
from adapters.table.param import STANDARD_PARAMS, Param
from adapters.table.table import GATEWAY_PARAMS, Table
from adapters.tools.sizes import Converter

_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
}
_GATEWAY_NOTES = {
    "n": "if one call cannot generate that many, the gateway makes several calls",
    "response_format": "the gateway converts if the provider has only the other form",
    "stream": "one event per image if the provider has no events of its own",
    "user": "not sent to the provider",
}
"""What the gateway itself does with a parameter, for any provider."""


def describe_model(adapter: Adapter, model: str) -> dict[str, Any]:
    """Return a model's description for `GET /v1/images/models/{provider}/{model}`."""
    table = adapter.table_for(model)
    return {
        "id": f"{adapter.id}/{model}",
        "object": "image_model",
        "provider": adapter.id,
        "model": model,
        "known": model in adapter.models,
        "parameters": [*describe_parameters(table), *describe_gateway_parameters(table)],
        "passes_unknown_parameters": adapter.passthrough,
        "images_per_call": table.images_per_call,
        "events": event_source(adapter, table),
        "url_lifetime": adapter.url_lifetime or None,
        "documentation": adapter.docs,
        "confidence": adapter.confidence,
        "experimental": adapter.experimental,
        "unconfirmed": adapter.unconfirmed,
        "read": adapter.docs_checked_on,
    }


def event_source(adapter: Adapter, table: Table) -> str:
    """Return who sends the events of a stream: `provider` or `gateway`."""
    return "provider" if adapter.passthrough or table.row("stream") else "gateway"


def describe_parameters(table: Table) -> list[dict[str, Any]]:
    """Return the description of each row of a table."""
    return [_describe_row(row) for row in table.rows]


def describe_gateway_parameters(table: Table) -> Iterator[dict[str, Any]]:
    """Yield the parameters that the gateway handles because the table has no row for them."""
    for name, about in _GATEWAY_NOTES.items():
        if table.row(name) is None:
            yield {
                **_describe_type(STANDARD_PARAMS[name]),
                "honoured_by": "gateway",
                "about": about,
            }


def _describe_row(row: Param) -> dict[str, Any]:
    """Return a row's description: what a client may send, and what the provider gets."""
    rule = STANDARD_PARAMS.get(row.name, row)
    described = _describe_type(rule)
    if row.target != row.name:
        described["sent_as"] = row.target
    if rule is not row and row.convert is None:
        own = _describe_range(replace(row, kind=rule.kind))
        described |= {f"provider_{key}": it for key, it in own.items() if described.get(key) != it}
    if row.own:
        described["own_values"] = row.own
    elif row.field in STANDARD_PARAMS.keys() - GATEWAY_PARAMS and rule is row:
        described["also_as"] = row.field
    described |= _describe_conversion(row)
    if row.default is not None:
        described["default"] = row.default
    if row.note:
        described["about"] = row.note
    return described


def _describe_type(rule: Param) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": rule.name,
        "type": _TYPES[rule.kind],
        **_describe_range(rule),
    }
    if rule.pattern:
        described["pattern"] = rule.pattern
    return described


def _describe_range(rule: Param) -> dict[str, Any]:
    """Return the range as JSON Schema keywords."""
    by_length: dict[type, tuple[str, str]] = {
        str: ("minLength", "maxLength"),
        list: ("minItems", "maxItems"),
    }
    low, high = by_length.get(rule.kind, ("minimum", "maximum"))
    described: dict[str, Any] = {}
    if rule.low is not None:
        described[low] = rule.low
    if rule.high is not None:
        described[high] = rule.high
    if rule.choices:
        described["enum"] = list(rule.choices)
    return described


def _describe_conversion(row: Param) -> dict[str, Any]:
    """Return how a value is converted, {} if it is sent unchanged."""
    if isinstance(row.convert, Mapping):
        return {"conversion": {str(client): it for client, it in row.convert.items()}}
    if isinstance(row.convert, Converter):
        return {"conversion": row.convert.description}
    return {"conversion": "rewritten for the provider"} if row.convert else {}
