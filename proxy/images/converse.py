"""The end of the chain: converse with the provider, merge what it made, deliver it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from adapters.contract import Answer, ImageCall
from adapters.errors import ImageError, no_picture
from adapters.params import Line
from proxy.errors import BadRequest
from proxy.images.deliver import deliver, relay
from proxy.keys import ATTEMPT, UPSTREAM
from proxy.plan import Attempt
from proxy.upstream.conversation import Upstream


async def converse(request: web.Request) -> web.StreamResponse:
    """Have the attempt's conversations, and answer the client."""
    attempt, upstream = request[ATTEMPT], request.app[UPSTREAM]
    if len(attempt.calls) > 1:
        if len(attempt.calls) > (left := attempt.tries.budget.left):
            raise BadRequest(
                f"These pictures take {len(attempt.calls)} requests to the provider, and "
                f"limits.attempts leaves {left}: ask for fewer.",
                code="too_many_attempts",
                param="n",
            )
        answer, headers = await _together(upstream, attempt)
        return await deliver(request, answer, headers)
    async with upstream.conversation(attempt.target, attempt.calls[0], attempt.tries) as outcome:
        if outcome.response is not None:
            return await relay(request, outcome.response, outcome.headers, outcome.head)
    # The provider's connection is free again before the client's pace matters.
    return await deliver(request, outcome.answer or Answer(()), outcome.headers)


async def _together(upstream: Upstream, attempt: Attempt) -> tuple[Answer, Mapping[str, str]]:
    """Have several conversations side by side, and merge their pictures in order.

    What some of them made is the client's even if others failed: it has been paid for.
    """

    async def one(call: ImageCall) -> tuple[Answer, CIMultiDict[str]] | ImageError:
        try:
            async with upstream.conversation(attempt.target, call, attempt.tries) as outcome:
                return outcome.answer or Answer(()), outcome.headers
        except ImageError as error:
            return error

    results = await asyncio.gather(*map(one, attempt.calls))
    made = [result for result in results if not isinstance(result, ImageError)]
    failed = [result for result in results if isinstance(result, ImageError)]
    if not made:
        raise failed[0] if failed else no_picture()
    if failed:
        lost = Line("failed", "calls", str(len(failed)), failed[0].code or str(failed[0].status))
        attempt.receipt = attempt.receipt.plus(lost)
    images = tuple(image for answer, _ in made for image in answer.images)
    merged = Answer(
        images, usage=_summed([answer.usage for answer, _ in made]), extra=made[0][0].extra
    )
    return merged, made[0][1]


def _summed(usages: list[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """Add up what several conversations counted, number by number.

    >>> _summed([{"total_tokens": 2}, {"total_tokens": 3}])
    {'total_tokens': 5}
    """
    counted = [usage for usage in usages if usage]
    if not counted:
        return None
    total = dict(counted[0])
    for usage in counted[1:]:
        for name, value in usage.items():
            known = total.get(name)
            if isinstance(value, int | float) and isinstance(known, int | float):
                total[name] = known + value
            elif isinstance(value, dict) and isinstance(known, dict):
                total[name] = _summed([known, value])
    return total
