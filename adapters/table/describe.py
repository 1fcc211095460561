"""Telling people and programs what an adapter's tables know of each parameter.

>>> from adapters import get_adapter
>>> told = describe_parameters(get_adapter("stability-ai").table_for("sd3.5-large"))
>>> next(one for one in told if one["name"] == "seed")
{'name': 'seed', 'type': 'integer', 'minimum': 0, 'maximum': 4294967294, 'about': '0 is random'}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from adapters.contract import Adapter
from adapters.table.param import STANDARD_PARAMS, Param
from adapters.table.table import Table
from adapters.tools.sizes import Converter

_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
}
_HONOURED = {
    "n": "more than one call can make is made by several calls",
    "response_format": "the gateway converts where the provider has only the other form",
    "stream": "an event for each picture where the provider has none of its own",
    "user": "kept at the gateway",
}
"""What the gateway itself does about a parameter, whoever the provider is."""


def describe_model(adapter: Adapter, model: str) -> dict[str, Any]:
    """Describe a model: each parameter, how pictures come, and how well this is known."""
    table = adapter.table_for(model)
    return {
        "id": f"{adapter.id}/{model}",
        "object": "image_model",
        "provider": adapter.id,
        "model": model,
        "known": model in adapter.models,
        "parameters": [*describe_parameters(table), *describe_gateway_parameters(table)],
        "passes_unknown_parameters": adapter.passthrough,
        "pictures_per_call": table.images_per_call,
        "events": event_source(adapter, table),
        "url_lifetime": adapter.url_lifetime or None,
        "documentation": adapter.docs,
        "confidence": adapter.confidence,
        "experimental": adapter.experimental,
        "unconfirmed": adapter.unconfirmed,
        "read": adapter.docs_checked_on,
    }


def event_source(adapter: Adapter, table: Table) -> str:
    """Tell whose the events of a stream are: `provider`'s own or the `gateway`'s."""
    return "provider" if adapter.passthrough or table.row("stream") else "gateway"


def describe_parameters(table: Table) -> list[dict[str, Any]]:
    """Describe each row of a table."""
    return [_describe_row(row) for row in table.rows]


def describe_gateway_parameters(table: Table) -> Iterator[dict[str, Any]]:
    """Describe the parameters that the gateway honours where the table has no row for them."""
    for name, about in _HONOURED.items():
        if table.row(name) is None:
            yield {
                **_describe_type(STANDARD_PARAMS[name]),
                "honoured_by": "gateway",
                "about": about,
            }


def _describe_row(row: Param) -> dict[str, Any]:
    """Describe a row: OpenAI's parameters with OpenAI's range, which is what clients may send."""
    rule = STANDARD_PARAMS.get(row.name, row)
    told = _describe_type(rule)
    if row.target != row.name:
        told["sent_as"] = row.target
    if rule is not row and row.convert is None:
        own = _describe_range(replace(row, kind=rule.kind))
        told |= {f"provider_{key}": it for key, it in own.items() if told.get(key) != it}
    told |= _describe_conversion(row)
    if row.default is not None:
        told["default"] = row.default
    if row.note:
        told["about"] = row.note
    return told


def _describe_type(rule: Param) -> dict[str, Any]:
    told: dict[str, Any] = {"name": rule.name, "type": _TYPES[rule.kind], **_describe_range(rule)}
    if rule.pattern:
        told["pattern"] = rule.pattern
    return told


def _describe_range(rule: Param) -> dict[str, Any]:
    """Give the range in JSON Schema's words."""
    by_length: dict[type, tuple[str, str]] = {
        str: ("minLength", "maxLength"),
        list: ("minItems", "maxItems"),
    }
    low, high = by_length.get(rule.kind, ("minimum", "maximum"))
    told: dict[str, Any] = {}
    if rule.low is not None:
        told[low] = rule.low
    if rule.high is not None:
        told[high] = rule.high
    if rule.choices:
        told["enum"] = list(rule.choices)
    return told


def _describe_conversion(row: Param) -> dict[str, Any]:
    """Say what becomes of a value that does not go through as it is."""
    if isinstance(row.convert, Mapping):
        return {"conversion": {str(client): it for client, it in row.convert.items()}}
    if isinstance(row.convert, Converter):
        return {"conversion": row.convert.description}
    return {"conversion": "rewritten for the provider"} if row.convert else {}
