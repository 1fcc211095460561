"""Server-sent events in OpenAI's format, for every provider, with keep-alive comments.

Each image is sent as soon as it is finished, and previews if the provider has them. Before the
first event an error is a plain HTTP error; after it, it is sent as an `error` event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

from aiohttp import web

from adapters.contract import Answer
from adapters.errors import ImageError, no_image_error
from proxy.context import ATTEMPT, ERROR_CODE
from proxy.errors import error_event, log_code
from proxy.observability.bookkeeping import bookkeeping
from proxy.pipeline.accounting import bill_image
from proxy.pipeline.image_source import ImageSource, measured_receipt, open_image
from proxy.pipeline.response import limit_downloads, open_json_string, stream_response, to_json
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import BilledImage
from proxy.upstream.client import client_for
from proxy.upstream.timeout import Timeout, total_timeout_error

T = TypeVar("T")

ConversationResult = tuple[Answer, Mapping[str, str]] | ImageError
"""The result of a conversation: an answer or a part of one, with headers; or an error."""

KEEPALIVE_COMMENT = b": keep-alive\n\n"
"""A comment: every parser of server-sent events ignores it."""

_COMPLETED, _PREVIEW = "image_generation.completed", "image_generation.partial_image"
_NO_USAGE = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}


async def deliver_stream(
    request: web.Request, results: AsyncGenerator[ConversationResult, None]
) -> web.StreamResponse:
    """Respond with an event for each image, in the order in which they arrive."""
    errors: list[ImageError] = []
    async with aclosing(results), AsyncExitStack() as stack:
        total = request[SNAPSHOT].settings.timeouts.total
        with Timeout(total, total_timeout_error):
            answer, headers, sources = await _first_images(request, results, errors, stack)
        attempt = request[ATTEMPT]
        with bookkeeping("receipt"):
            for number, source in enumerate(sources, 1):
                lines = measured_receipt(number, source.measured, attempt.params, source.length)
                attempt.receipt = attempt.receipt.with_lines(*lines)
        response = web.StreamResponse(headers=headers)
        response.headers["cache-control"] = "no-cache"
        response.content_type = "text/event-stream"
        return await stream_response(
            request, response, _event_stream(request, answer, sources, results, errors)
        )


async def _event_stream(
    request: web.Request,
    answer: Answer,
    sources: list[ImageSource],
    results: AsyncIterator[ConversationResult],
    errors: list[ImageError],
) -> AsyncGenerator[bytes, None]:
    """Yield the events of the first answer and of all later ones; at the end, the first error."""
    async for chunk in _image_events(request, answer, sources):
        yield chunk
    async with aclosing(_later_events(request, results, errors)) as others:
        async for chunk in others:
            yield chunk
    if errors:
        if not request[ATTEMPT].images_out:
            # Only previews were sent: the job has failed.
            raise errors[0]
        request[ERROR_CODE] = log_code(errors[0])
        yield error_event(errors[0])


async def _first_images(
    request: web.Request,
    results: AsyncGenerator[ConversationResult, None],
    errors: list[ImageError],
    stack: AsyncExitStack,
) -> tuple[Answer, Mapping[str, str], list[ImageSource]]:
    """Return the first answer with a readable image; raises the first error if there is none."""
    async for result in results:
        if isinstance(result, ImageError):
            errors.append(result)
            continue
        answer, headers = result
        if sources := await _open_images(request, answer, errors, stack):
            return answer, headers, sources
    raise errors[0] if errors else no_image_error()


async def _later_events(
    request: web.Request, results: AsyncIterator[ConversationResult], errors: list[ImageError]
) -> AsyncGenerator[bytes, None]:
    seconds = request[SNAPSHOT].settings.images.comment_seconds
    async with aclosing(with_keepalives(results, seconds)) as items:
        async for result in items:
            if result is None:
                yield KEEPALIVE_COMMENT
            elif isinstance(result, ImageError):
                errors.append(result)
            else:
                async with AsyncExitStack() as stack:
                    sources = await _open_images(request, result[0], errors, stack)
                    async for chunk in _image_events(request, result[0], sources):
                        yield chunk


async def _open_images(
    request: web.Request, answer: Answer, errors: list[ImageError], stack: AsyncExitStack
) -> list[ImageSource]:
    """Open the images of an answer; the error of an unreadable one is added to `errors`."""
    upstream, attempt = client_for(request), request[ATTEMPT]
    recording = attempt.capture
    answer = limit_downloads(request, answer)
    if recording:
        with bookkeeping("cache"):
            recording.add_answer(answer)
    sources: list[ImageSource] = []
    for image in answer.images:
        try:
            source = await open_image(upstream, attempt.target, image, stack, recording)
        except ImageError as error:
            errors.append(error)
        else:
            sources.append(source)
            if image.partial_index is None:
                billed = BilledImage(attempt.target)
                with bookkeeping("prices"):
                    billed = bill_image(attempt.target, source)
                attempt.images_out.append(billed)
    return sources


async def _image_events(
    request: web.Request, answer: Answer, sources: list[ImageSource]
) -> AsyncIterator[bytes]:
    """Yield an event for each image of an answer, the last one with the usage."""
    for source in sources:
        about = _event_fields(request, answer.usage if source is sources[-1] else None, source)
        data = open_json_string(to_json(about), "b64_json")
        yield b"event: %b\ndata: %b" % (about["type"].encode(), data)
        async for chunk in source.iter_base64():
            yield chunk
        yield b'"}\n\n'


def _event_fields(
    request: web.Request, usage: Mapping[str, Any] | None, source: ImageSource
) -> dict[str, Any]:
    """Return the members of an event without the image."""
    params, header = request[ATTEMPT].params, source.measured
    size = header.size if header.width else params.get("size") or "auto"
    about = {
        **source.image.extra,
        "type": _COMPLETED,
        "created_at": int(time.time()),
        "size": size,
        "quality": params.get("quality") or "auto",
        "background": params.get("background") or "auto",
        "output_format": header.format or params.get("output_format") or "png",
    }
    if source.image.partial_index is None:
        return {**about, "usage": usage or _NO_USAGE}
    return {**about, "type": _PREVIEW, "partial_image_index": source.image.partial_index}


async def with_keepalives(
    items: AsyncIterator[T], seconds: float
) -> AsyncGenerator[T | None, None]:
    """Yield each item as it arrives, and None after every `seconds` without one.

    The generator must be closed, or the pending request for the next item keeps running.
    """
    next_item = asyncio.ensure_future(_next(items))
    try:
        while True:
            done, _ = await asyncio.wait({next_item}, timeout=seconds)
            if not done:
                yield None
                continue
            try:
                item = next_item.result()
            except StopAsyncIteration:
                return
            yield item
            # An item that was sent is not kept in memory until the next one arrives.
            del item, done
            next_item = asyncio.ensure_future(_next(items))
    finally:
        next_item.cancel()
        await asyncio.wait({next_item})


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
