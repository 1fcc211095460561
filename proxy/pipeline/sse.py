"""OpenAI's events, for every provider: previews where it has them, each picture once it is there.

Until the first event has gone a failure is a plain HTTP error; after it, it is an `error` event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

import orjson
from aiohttp import web

from adapters.contract import Answer
from adapters.errors import ImageError, no_image_error
from proxy.context import ATTEMPT, ERROR_CODE
from proxy.errors import log_code
from proxy.pipeline.accounting import bill_image
from proxy.pipeline.image_source import ImageSource, measured_receipt, open_image
from proxy.pipeline.response import open_json_string, stream_response, to_json
from proxy.reload.snapshot import SNAPSHOT
from proxy.upstream.client import client_for
from proxy.upstream.timeout import Timeout, total_timeout_error

T = TypeVar("T")

ConversationResult = tuple[Answer, Mapping[str, str]] | ImageError
"""What came of a conversation: an answer, or a part of one, with headers; or a failure."""

KEEPALIVE_COMMENT = b": keep-alive\n\n"
"""A comment: every reader of server-sent events passes it over."""

_COMPLETED, _PREVIEW = "image_generation.completed", "image_generation.partial_image"
_NO_USAGE = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}


async def deliver_stream(
    request: web.Request, coming: AsyncGenerator[ConversationResult, None]
) -> web.StreamResponse:
    """Answer with an event for each picture, in the order in which they come."""
    failed: list[ImageError] = []
    async with aclosing(coming), AsyncExitStack() as stack:
        most = request[SNAPSHOT].settings.timeouts.total
        with Timeout(most, total_timeout_error):
            answer, headers, sources = await _first_images(request, coming, failed, stack)
        for number, source in enumerate(sources, 1):
            told = measured_receipt(number, source.measured, request[ATTEMPT].params, source.length)
            request[ATTEMPT].receipt = request[ATTEMPT].receipt.with_lines(*told)
        response = web.StreamResponse(headers=headers)
        response.headers["cache-control"] = "no-cache"
        response.content_type = "text/event-stream"
        return await stream_response(
            request, response, _event_stream(request, answer, sources, coming, failed)
        )


async def _event_stream(
    request: web.Request,
    answer: Answer,
    sources: list[ImageSource],
    coming: AsyncIterator[ConversationResult],
    failed: list[ImageError],
) -> AsyncGenerator[bytes, None]:
    """Write the first answer, then what comes after it; at the end, what failed."""
    async for piece in _image_events(request, answer, sources):
        yield piece
    async with aclosing(_later_events(request, coming, failed)) as others:
        async for piece in others:
            yield piece
    if failed:
        request[ERROR_CODE] = log_code(failed[0])
        yield _format_event({"type": "error", "error": failed[0].to_dict()}, "error")


async def _first_images(
    request: web.Request,
    coming: AsyncGenerator[ConversationResult, None],
    failed: list[ImageError],
    stack: AsyncExitStack,
) -> tuple[Answer, Mapping[str, str], list[ImageSource]]:
    """Wait for the first picture that can be written; raises the first failure if none can."""
    async for came in coming:
        if isinstance(came, ImageError):
            failed.append(came)
            continue
        answer, headers = came
        if sources := await _open_images(request, answer, failed, stack):
            return answer, headers, sources
    raise failed[0] if failed else no_image_error()


async def _later_events(
    request: web.Request, coming: AsyncIterator[ConversationResult], failed: list[ImageError]
) -> AsyncGenerator[bytes, None]:
    seconds = request[SNAPSHOT].settings.images.comment_seconds
    async with aclosing(with_keepalives(coming, seconds)) as pieces:
        async for came in pieces:
            if came is None:
                yield KEEPALIVE_COMMENT
            elif isinstance(came, ImageError):
                failed.append(came)
            else:
                async with AsyncExitStack() as stack:
                    sources = await _open_images(request, came[0], failed, stack)
                    async for piece in _image_events(request, came[0], sources):
                        yield piece


async def _open_images(
    request: web.Request, answer: Answer, failed: list[ImageError], stack: AsyncExitStack
) -> list[ImageSource]:
    """Make the pictures of an answer ready; one that is lost takes no others with it."""
    upstream, attempt = client_for(request), request[ATTEMPT]
    recording = attempt.capture
    if recording:
        recording.add_answer(answer)
    sources: list[ImageSource] = []
    for image in answer.images:
        try:
            source = await open_image(upstream, attempt.target, image, stack, recording)
        except ImageError as error:
            failed.append(error)
        else:
            sources.append(source)
            if image.partial_index is None:
                attempt.images_out.append(bill_image(attempt.target, source))
    return sources


async def _image_events(
    request: web.Request, answer: Answer, sources: list[ImageSource]
) -> AsyncIterator[bytes]:
    """Write an event for each picture of an answer; what was counted stands beside the last."""
    for source in sources:
        about = _event_fields(request, answer.usage if source is sources[-1] else None, source)
        data = open_json_string(to_json(about), "b64_json")
        yield b"event: %b\ndata: %b" % (about["type"].encode(), data)
        async for piece in source.iter_base64():
            yield piece
        yield b'"}\n\n'


def _event_fields(
    request: web.Request, usage: Mapping[str, Any] | None, source: ImageSource
) -> dict[str, Any]:
    """Give the members of an event beside the picture."""
    asked, found = request[ATTEMPT].params, source.measured
    size = found.size if found.width else asked.get("size") or "auto"
    about = {
        **source.image.extra,
        "type": _COMPLETED,
        "created_at": int(time.time()),
        "size": size,
        "quality": asked.get("quality") or "auto",
        "background": asked.get("background") or "auto",
        "output_format": found.format or asked.get("output_format") or "png",
    }
    if source.image.partial_index is None:
        return {**about, "usage": usage or _NO_USAGE}
    return {**about, "type": _PREVIEW, "partial_image_index": source.image.partial_index}


def _format_event(data: dict[str, Any], name: str) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


async def with_keepalives(
    pieces: AsyncIterator[T], seconds: float
) -> AsyncGenerator[T | None, None]:
    """Give each piece as it comes, and None after each `seconds` in which none came.

    Close it, or `pieces` is still being asked for its next one.
    """
    coming = asyncio.ensure_future(_next(pieces))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=seconds)
            if not done:
                yield None
                continue
            try:
                piece = coming.result()
            except StopAsyncIteration:
                return
            yield piece
            del piece, done  # What has gone is not held until the next comes.
            coming = asyncio.ensure_future(_next(pieces))
    finally:
        coming.cancel()
        await asyncio.wait({coming})


async def _next(pieces: AsyncIterator[T]) -> T:
    return await anext(pieces)
