"""Dry run: the requests that would be sent, the receipt of the parameters, and the price.

Nothing is sent and nothing is charged; no access token is requested either.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from adapters.contract import ImageCall
from adapters.errors import BadParam
from adapters.table.param import validate
from adapters.tools import sizes
from proxy.context import ATTEMPT
from proxy.pipeline.partial import requested_count
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Target
from proxy.settings.prices import Prices, image_price
from proxy.upstream.client import random_call_id
from proxy.upstream.exchange import describe_request


async def dry_run(request: web.Request) -> web.Response:
    """Respond with the description of the attempt."""
    description = await describe_attempt(request[ATTEMPT], request[SNAPSHOT].settings.price_table)
    return web.Response(body=orjson.dumps(description), content_type="application/json")


async def describe_attempt(attempt: Attempt, prices: Prices) -> dict[str, Any]:
    """Return the requests of an attempt with secrets masked, its receipt and its price.

    Of a call that takes several requests, only the first is shown: the next depends on its reply.
    """
    target = attempt.target
    return {
        "object": "easel.dry_run",
        "provider": target.adapter.id,
        "target": target.config_path,
        "requests": [await _describe_call(target, call) for call in attempt.calls],
        "receipt": list(map(str, attempt.receipt.lines)),
        "price": _price(attempt, prices),
    }


async def _describe_call(target: Target, call: ImageCall) -> dict[str, Any]:
    call = replace(call, credentials=target.credentials, nonce=random_call_id())
    return await describe_request(target, next(target.adapter.flow(call)))


def _price(attempt: Attempt, prices: Prices) -> dict[str, Any] | None:
    """Return the price of all images; None if it is not known."""
    params, target = attempt.params, attempt.target
    pixels, count = _pixel_count(params.get("size")), requested_count(attempt)
    model = target.adapter.effective_model(params.get("model") or "", target.credentials)
    each = image_price(prices, target.adapter.id, model, pixels)
    if each is None or count < 1:
        return None
    return {"usd": round(each * count, 6), "usd_each": each, "images": count}


def _pixel_count(size: object) -> int | None:
    """Return the number of pixels of a size; None if it is not `WIDTHxHEIGHT`."""
    try:
        validate("size", size)
    except BadParam:
        return None
    pixels = sizes.parse_size(str(size))
    return pixels[0] * pixels[1] if pixels else None
