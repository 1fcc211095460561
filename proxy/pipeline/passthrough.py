"""The fast path: relays a provider's response as it arrives, without parsing it.

Only the start of the body is inspected, to measure the first image before anything is sent.
It is searched for the secrets that the provider was sent, and must be whole at its end.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial

from aiohttp import ClientResponse, web
from multidict import CIMultiDict

from adapters.contract import Adapter
from adapters.errors import ImageError
from adapters.http import ProviderReply
from adapters.tools.image_header import HEADER_BYTES, ImageHeader
from adapters.tools.sse import EventParser
from proxy.context import ATTEMPT
from proxy.observability.bookkeeping import bookkeeping
from proxy.pipeline.accounting import pixel_count
from proxy.pipeline.completeness import EventScan, check_events, check_json
from proxy.pipeline.image_source import measure_base64, measured_receipt
from proxy.pipeline.partial import requested_count
from proxy.pipeline.response import EVENT_STREAM, stream_response
from proxy.pipeline.sse import KEEPALIVE_COMMENT, with_keepalives
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import BilledImage
from proxy.upstream.client import Outcome
from proxy.upstream.errors import ended_early, map_client_errors
from proxy.upstream.http1 import read_arrived
from proxy.upstream.redact import redact, redact_stream
from proxy.upstream.reply import is_compressed, is_plain
from proxy.upstream.reply_limits import inflate, reply_too_large
from proxy.upstream.timeout import total_timeout_error

ReadError = Callable[[bytes], ImageError]
"""Returns the error that an event reports."""

_IMAGE = re.compile(
    rb'"b64_json"\s*:\s*"(?:data:[^,"]{0,64},)?([A-Za-z0-9+/]{16,%d})' % (HEADER_BYTES * 2)
)


async def relay(
    request: web.Request, provider: ClientResponse, outcome: Outcome
) -> web.StreamResponse:
    """Relay a provider's response in chunks; the first ones are moved out of the outcome."""
    attempt, head = request[ATTEMPT], outcome.head
    settings = request[SNAPSHOT].settings
    limit = settings.limits.reply_bytes
    chunks = _relay_chunks(provider, head, limit, settings.timeouts.total)
    if is_compressed(provider) and not is_plain(b"".join(head)):
        chunks = inflate(chunks, provider.headers["content-encoding"], limit)
    is_stream = outcome.is_event_stream
    if is_stream:
        read_error = partial(_reported_error, attempt.target.adapter, outcome.secrets)
        if provider.content.at_eof() and not is_compressed(provider):
            _require_image(head, read_error)
        chunks = check_events(chunks, EventScan(), requested_count(attempt), read_error)
    else:
        chunks = check_json(chunks, provider.content_length)
    if is_stream and provider.content_type != EVENT_STREAM:
        outcome.headers["content-type"] = EVENT_STREAM
    if is_stream or is_compressed(provider):
        _drop_body_headers(outcome.headers)
    response = web.StreamResponse(status=provider.status, headers=outcome.headers)
    header = None
    with bookkeeping("receipt"):
        header = measure_first_image(b"".join(head))
        if header:
            lines = measured_receipt(1, header, attempt.params)
            attempt.receipt = attempt.receipt.with_lines(*lines)
    # An event, or a long error with a success status, may repeat a secret.
    chunks = redact_stream(chunks, outcome.secrets)
    if is_stream:
        chunks = _add_keepalives(chunks, settings.images.comment_seconds)
    sent = await stream_response(request, response, chunks)
    # The images are not parsed: count the requested number, with the size of the first one.
    with bookkeeping("prices"):
        billed = BilledImage(attempt.target, pixel_count(header))
        attempt.images_out = [billed] * requested_count(attempt)
    return sent


def _require_image(head: list[bytes], read_error: ReadError) -> None:
    """Raise the error of a stream that has ended already, if it has no finished image."""
    scan = EventScan()
    for chunk in head:
        scan.feed(chunk)
    scan.close()
    if not scan.finished:
        raise read_error(scan.report) if scan.report else ended_early()


def _reported_error(adapter: Adapter, secrets: frozenset[str], report: bytes) -> ImageError:
    """Return the error that an event reports."""
    for event in EventParser().feed(report + b"\n\n"):
        return adapter.provider_error(ProviderReply(body=redact(event.data, secrets)))
    return ended_early()


def _drop_body_headers(headers: CIMultiDict[str]) -> None:
    """Drop the headers that hold only for the provider's own bytes: comments may be added."""
    for name in ("content-length", "content-encoding", "content-md5", "digest", "etag"):
        headers.popall(name, None)


async def _relay_chunks(
    provider: ClientResponse, head: list[bytes], limit: int, total_timeout: float
) -> AsyncGenerator[bytes, None]:
    """Yield the reply's chunks, beginning with `head`; raise beyond `limit` bytes.

    `total_timeout` limits the seconds spent waiting for the provider.
    """
    limit -= sum(map(len, head))
    while head:
        yield head.pop(0)
    content, clock, waited = provider.content, asyncio.get_running_loop().time, 0.0
    while not content.at_eof():
        began = clock()
        with map_client_errors():
            chunk = await read_arrived(content)
        # The time in which the client reads a chunk does not count against the provider.
        waited += clock() - began
        limit -= len(chunk)
        if limit < 0:
            raise reply_too_large()
        if waited > total_timeout:
            raise total_timeout_error(total_timeout)
        if chunk:
            yield chunk
        del chunk  # See `stream_response`.


async def _add_keepalives(
    chunks: AsyncIterator[bytes], seconds: float
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks, and a comment after `seconds` of silence between two events."""
    end = b""
    async with aclosing(with_keepalives(chunks, seconds)) as with_silence:
        async for chunk in with_silence:
            if chunk is not None:
                # The blank line after an event may arrive in two chunks.
                end = (end + chunk)[-4:]
                yield chunk
            elif end.endswith((b"\n\n", b"\r\n\r\n")):
                yield KEEPALIVE_COMMENT


def measure_first_image(head: bytes) -> ImageHeader | None:
    """Return the type and size of the first image in the start of an OpenAI response, or None.

    >>> measure_first_image(b'{"data": [{"b64_json": "R0lGODlhAgADAIAAAAAAAAAA')
    ImageHeader(media_type='image/gif', width=2, height=3)
    """
    if not (match := _IMAGE.search(head)):
        return None
    text = match[1].decode()
    header = measure_base64(text[: len(text) // 4 * 4])
    return header if header.media_type else None
