"""The end of the chain: runs the attempt's provider calls, merges the results, responds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from aiohttp import web

from adapters.contract import Answer, ImageCall
from adapters.errors import ImageError, no_image_error
from adapters.tools.response_form import begins_with_form
from proxy.context import ATTEMPT
from proxy.errors import BadRequest
from proxy.pipeline.partial import handle_missing, requested_count, too_few_images
from proxy.pipeline.passthrough import relay
from proxy.pipeline.response import deliver
from proxy.pipeline.sse import ConversationResult, deliver_stream
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt
from proxy.upstream.client import ProviderClient, client_for
from proxy.upstream.errors import ended_early


async def converse(request: web.Request) -> web.StreamResponse:
    """Run the attempt's provider calls, and respond to the client."""
    attempt, upstream = request[ATTEMPT], client_for(request)
    _check_attempt_budget(attempt)
    streamed = attempt.params.get("stream") is True
    if streamed and not attempt.target.adapter.passthrough:
        return await deliver_stream(request, iter_results(upstream, attempt))
    if len(attempt.calls) > 1:
        return await _deliver_all(request, await _gather_results(upstream, attempt))
    relayed, call = streamed or not _needs_counting(request), attempt.calls[0]
    keeps_urls = not request[SNAPSHOT].settings.blobs.persist_urls
    fits = partial(begins_with_form, form=attempt.form, keeps_urls=keeps_urls)
    async with upstream.conversation(
        attempt.target, call, attempt.retry_state, may_relay=relayed, fits=fits
    ) as outcome:
        if outcome.response is not None:
            return await relay(request, outcome.response, outcome)
    # The provider's connection is released before a slow client can hold it.
    results: list[ConversationResult] = [(outcome.answer or Answer(()), outcome.headers)]
    if streamed:
        return await deliver_stream(request, _iterate(results))
    return await _deliver_all(request, results)


async def _deliver_all(
    request: web.Request, results: list[ConversationResult]
) -> web.StreamResponse:
    answer, headers = _merge_answers(request, results)
    return await deliver(request, answer, headers)


def _needs_counting(request: web.Request) -> bool:
    """Whether the images of the response have to be counted: then it is parsed, not relayed."""
    attempt = request[ATTEMPT]
    if attempt.prior_images:
        # They are merged with those of this target.
        return True
    if requested_count(attempt) == 1:
        return False
    return attempt.completes_elsewhere or request[SNAPSHOT].settings.images.incomplete == "fail"


def _check_attempt_budget(attempt: Attempt) -> None:
    if 1 < len(attempt.calls) > (left := attempt.retry_state.budget.remaining):
        raise BadRequest(
            f"These images take {len(attempt.calls)} requests to the provider, but only {left} are "
            "left of limits.attempts. Request fewer images.",
            code="too_many_attempts",
            param="n",
        )


async def _gather_results(upstream: ProviderClient, attempt: Attempt) -> list[ConversationResult]:
    """Run the calls concurrently; return the result of each, in order."""

    async def one(call: ImageCall) -> ConversationResult:
        try:
            async with upstream.conversation(attempt.target, call, attempt.retry_state) as outcome:
                return outcome.answer or Answer(()), outcome.headers
        except ImageError as error:
            attempt.retry_state.budget.record_failure(error)
            return error

    return await asyncio.gather(*map(one, attempt.calls))


def _merge_answers(
    request: web.Request, results: list[ConversationResult]
) -> tuple[Answer, Mapping[str, str]]:
    """Merge the results in order. If some calls fail, the others' images are returned."""
    attempt = request[ATTEMPT]
    errors = [it for it in results if isinstance(it, ImageError)]
    answers = [it for it in results if not isinstance(it, ImageError)]
    images = [image for answer, _ in answers for image in answer.images]
    if not images:
        raise errors[0] if errors else no_image_error()
    if (missing := requested_count(attempt) - len(images)) > 0:
        error = errors[0] if errors else too_few_images(missing)
        handle_missing(request, attempt.with_prior_images(images), missing, error)
    first, headers = answers[0]
    if len(results) == 1:
        return first, headers
    usage = sum_usage([answer.usage for answer, _ in answers])
    return replace(first, images=tuple(images), usage=usage, body=None), headers


async def iter_results(
    upstream: ProviderClient, attempt: Attempt
) -> AsyncGenerator[ConversationResult, None]:
    """Run the calls concurrently; yield each answer, or part of one, as it arrives."""
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

    missing, failed, begun = requested_count(attempt), False, False
    async for result in _merge_tasks(
        queue, [asyncio.create_task(one(call)) for call in attempt.calls]
    ):
        if isinstance(result, ImageError):
            failed = True
        else:
            missing -= _count_finished(result[0])
            begun = begun or bool(result[0].images)
        yield result
    if missing > 0 and not failed:
        # A provider that sent previews, and then nothing, may have charged for the image.
        has_none = missing == requested_count(attempt)
        yield ended_early() if begun and has_none else too_few_images(missing)


async def _merge_tasks(
    queue: asyncio.Queue[ConversationResult], tasks: list[asyncio.Task[None]]
) -> AsyncGenerator[ConversationResult, None]:
    """Yield what the tasks put into a queue until they end. Closing this cancels them."""
    running: set[asyncio.Task[Any]] = set(tasks)
    next_result = asyncio.create_task(queue.get())
    try:
        while running or next_result.done() or not queue.empty():
            done, _ = await asyncio.wait(
                {next_result, *running}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done & running:
                running.remove(task)
                task.result()
            if next_result in done:
                yield next_result.result()
                next_result = asyncio.create_task(queue.get())
    finally:
        for task in (next_result, *tasks):
            task.cancel()
        await asyncio.gather(next_result, *tasks, return_exceptions=True)


async def attach_usage(events: AsyncIterator[Answer], n: int) -> AsyncIterator[Answer]:
    """Yield the events, with usage that follows the last of `n` images moved to that image."""
    pending: Answer | None = None
    finished = 0
    try:
        async for answer in events:
            finished += _count_finished(answer)
            if pending and answer.usage and not answer.images:
                yield replace(pending, usage=answer.usage)
                pending = None
                continue
            if pending:
                yield pending
                pending = None
            if answer.usage is None and finished >= n:
                pending = answer
            elif answer.images:
                yield answer
    except ImageError:
        # Once all images have arrived, only the usage can be missing.
        if finished < n:
            raise
    if pending:
        yield pending


def _count_finished(answer: Answer) -> int:
    return sum(image.partial_index is None for image in answer.images)


async def _iterate(results: list[ConversationResult]) -> AsyncGenerator[ConversationResult, None]:
    for result in results:
        yield result


def sum_usage(usages: list[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """Return the sum of the usage of several calls, number by number.

    >>> sum_usage([{"total_tokens": 2}, {"total_tokens": 3}])
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
