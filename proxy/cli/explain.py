"""`easel explain`: the provider requests of a call, without sending them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import orjson

from adapters.contract import Adapter, Credentials
from adapters.errors import ImageError
from adapters.table.table import UnsupportedPolicy
from proxy.pipeline.dry_run import describe_attempt
from proxy.pipeline.translate import prepare_calls
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Target
from proxy.settings.prices import bundled_prices


def explain_call(
    adapter: Adapter,
    params: Mapping[str, Any],
    options: Mapping[str, str],
    policy: UnsupportedPolicy,
) -> dict[str, Any]:
    """Return the JSON of a dry run; raises `BadParam`. Missing credentials are `***`."""
    credentials = Credentials("***", {**_placeholder_options(adapter, options), **options})
    target = Target(
        adapter, credentials, adapter.resolve_base_url(credentials), unsupported_policy=policy
    )
    attempt = Attempt(target, dict(params), orjson.dumps(params))
    prepare_calls(attempt)
    return asyncio.run(describe_attempt(attempt, bundled_prices()))


def _placeholder_options(adapter: Adapter, options: Mapping[str, str]) -> Mapping[str, str]:
    """Return placeholders for missing options that are required."""
    credentials = Credentials("***", options)
    missing = adapter.missing_credentials(credentials)
    try:
        adapter.resolve_base_url(credentials)
    except ImageError as error:
        missing += error.message
    return {option.name: "***" for option in adapter.options if option.name in missing}


def format_explanation(result: Mapping[str, Any]) -> str:
    """Return a text: each request, the changes to parameters, the price."""
    lines: list[str] = []
    for request, repeats in groupby(result["requests"]):
        count = len(list(repeats))
        lines += [f"{count} times:"] if count > 1 else []
        lines += [f"{request['method']} {request['url']}"]
        lines += [f"{name}: {value}" for name, value in request["headers"].items()]
        body = request["body"]
        if body is not None:
            lines += ["", orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()]
        lines.append("")
    lines += ["Changes to parameters:"]
    lines += [f"  {line}" for line in result["receipt"] or ["none"]]
    price = result["price"]
    cost = f"{price['usd']:g} US dollars" if price else "unknown"
    return "\n".join([*lines, f"Price: {cost}"])
