"""The end of the chain: converse with the provider, merge what it made, deliver it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from adapters.contract import Answer, ImageCall
from adapters.errors import ImageError, no_image_error
from proxy.context import ATTEMPT
from proxy.errors import BadRequest
from proxy.pipeline.partial import handle_missing, requested_count, too_few_images
from proxy.pipeline.passthrough import relay
from proxy.pipeline.response import deliver
from proxy.pipeline.sse import ConversationResult, deliver_stream
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt
from proxy.upstream.client import ProviderClient, client_for


async def converse(request: web.Request) -> web.StreamResponse:
    """Have the attempt's conversations, and answer the client."""
    attempt, upstream = request[ATTEMPT], client_for(request)
    _check_attempt_budget(attempt)
    streamed = attempt.params.get("stream") is True
    if streamed and not attempt.target.adapter.passthrough:
        return await deliver_stream(request, iter_results(upstream, attempt))
    if len(attempt.calls) > 1:
        return await _deliver_all(request, await _gather_results(upstream, attempt))
    relayed, call = streamed or not _needs_counting(request), attempt.calls[0]
    async with upstream.conversation(
        attempt.target, call, attempt.retry_state, may_relay=relayed
    ) as outcome:
        if outcome.response is not None:
            return await relay(request, outcome.response, outcome)
    # The provider's connection is free again before the client's pace matters.
    came: list[ConversationResult] = [(outcome.answer or Answer(()), outcome.headers)]
    if streamed:
        return await deliver_stream(request, _iterate(came))
    return await _deliver_all(request, came)


async def _deliver_all(request: web.Request, came: list[ConversationResult]) -> web.StreamResponse:
    answer, headers = _merge_answers(request, came)
    return await deliver(request, answer, headers)


def _needs_counting(request: web.Request) -> bool:
    """Tell whether the pictures of an answer have to be counted: then it is not relayed unread."""
    attempt = request[ATTEMPT]
    if attempt.prior_images:
        # They are to stand beside those of this target.
        return True
    if requested_count(attempt) == 1:
        return False
    return attempt.completes_elsewhere or request[SNAPSHOT].settings.images.incomplete == "fail"


def _check_attempt_budget(attempt: Attempt) -> None:
    if 1 < len(attempt.calls) > (left := attempt.retry_state.budget.remaining):
        raise BadRequest(
            f"These pictures take {len(attempt.calls)} requests to the provider, and "
            f"limits.attempts leaves {left}: ask for fewer.",
            code="too_many_attempts",
            param="n",
        )


async def _gather_results(upstream: ProviderClient, attempt: Attempt) -> list[ConversationResult]:
    """Have the conversations side by side, and give what came of each, in order."""

    async def one(call: ImageCall) -> ConversationResult:
        try:
            async with upstream.conversation(attempt.target, call, attempt.retry_state) as outcome:
                return outcome.answer or Answer(()), outcome.headers
        except ImageError as error:
            attempt.retry_state.budget.record_failure(error)
            return error

    return await asyncio.gather(*map(one, attempt.calls))


def _merge_answers(
    request: web.Request, came: list[ConversationResult]
) -> tuple[Answer, Mapping[str, str]]:
    """Merge what came, in order; what some conversations made is given even if others failed."""
    attempt = request[ATTEMPT]
    failed = [it for it in came if isinstance(it, ImageError)]
    made = [it for it in came if not isinstance(it, ImageError)]
    images = [image for answer, _ in made for image in answer.images]
    if not images:
        raise failed[0] if failed else no_image_error()
    if (missing := requested_count(attempt) - len(images)) > 0:
        why = failed[0] if failed else too_few_images(missing)
        handle_missing(request, attempt.with_prior_images(images), missing, why)
    first, headers = made[0]
    if len(came) == 1:
        return first, headers
    usage = sum_usage([answer.usage for answer, _ in made])
    return replace(first, images=tuple(images), usage=usage, body=None), headers


async def iter_results(
    upstream: ProviderClient, attempt: Attempt
) -> AsyncGenerator[ConversationResult, None]:
    """Have the conversations side by side, and give each answer, or part of one, as it comes."""
    queue: asyncio.Queue[ConversationResult] = asyncio.Queue(maxsize=1)

    async def one(call: ImageCall) -> None:
        try:
            async with upstream.conversation(attempt.target, call, attempt.retry_state) as outcome:
                if outcome.events:
                    async for answer in attach_usage(outcome.events, call.n):
                        await queue.put((answer, outcome.headers))
            if outcome.answer:
                await queue.put((outcome.answer, outcome.headers))
        except ImageError as error:
            attempt.retry_state.budget.record_failure(error)
            await queue.put(error)

    missing, failed = requested_count(attempt), False
    async for came in _merge_tasks(
        queue, [asyncio.create_task(one(call)) for call in attempt.calls]
    ):
        if isinstance(came, ImageError):
            failed = True
        else:
            missing -= _count_finished(came[0])
        yield came
    if missing > 0 and not failed:
        yield too_few_images(missing)


async def _merge_tasks(
    queue: asyncio.Queue[ConversationResult], tasks: list[asyncio.Task[None]]
) -> AsyncGenerator[ConversationResult, None]:
    """Give what tasks put into a queue, until they have ended; they end with this."""
    left: set[asyncio.Task[Any]] = set(tasks)
    coming = asyncio.create_task(queue.get())
    try:
        while left or coming.done() or not queue.empty():
            done, _ = await asyncio.wait({coming, *left}, return_when=asyncio.FIRST_COMPLETED)
            for task in done & left:
                left.remove(task)
                task.result()
            if coming in done:
                yield coming.result()
                coming = asyncio.create_task(queue.get())
    finally:
        for task in (coming, *tasks):
            task.cancel()
        await asyncio.gather(coming, *tasks, return_exceptions=True)


async def attach_usage(events: AsyncIterator[Answer], n: int) -> AsyncIterator[Answer]:
    """Put a count that comes after the last of `n` pictures beside that picture."""
    held: Answer | None = None
    finished = 0
    try:
        async for answer in events:
            finished += _count_finished(answer)
            if held and answer.usage and not answer.images:
                yield replace(held, usage=answer.usage)
                held = None
                continue
            if held:
                yield held
                held = None
            if answer.usage is None and finished >= n:
                held = answer
            elif answer.images:
                yield answer
    except ImageError:
        # Every picture is there; only the count is not.
        if not held:
            raise
    if held:
        yield held


def _count_finished(answer: Answer) -> int:
    return sum(image.partial_index is None for image in answer.images)


async def _iterate(came: list[ConversationResult]) -> AsyncGenerator[ConversationResult, None]:
    for one in came:
        yield one


def sum_usage(usages: list[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """Add up what several conversations counted, number by number.

    >>> summed([{"total_tokens": 2}, {"total_tokens": 3}])
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
                total[name] = sum_usage([known, value])
    return total
