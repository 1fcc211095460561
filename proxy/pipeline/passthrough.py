"""The fast path: a provider's answer goes through as it comes, unread.

Only its beginning is looked at, while nothing has gone: a picture there is measured. Events are
searched for what the provider was sent in secret.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from aiohttp import ClientResponse, web

from adapters.tools.image_header import HEADER_BYTES, ImageHeader
from proxy.context import ATTEMPT
from proxy.pipeline.accounting import pixel_count
from proxy.pipeline.image_source import measure_base64, measured_receipt
from proxy.pipeline.partial import requested_count
from proxy.pipeline.response import stream_response
from proxy.pipeline.sse import KEEPALIVE_COMMENT, with_keepalives
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import BilledImage
from proxy.upstream.client import Outcome
from proxy.upstream.errors import map_client_errors
from proxy.upstream.redact import redact_stream
from proxy.upstream.reply import is_compressed, reply_too_large
from proxy.upstream.timeout import total_timeout_error

_IMAGE = re.compile(
    rb'"b64_json"\s*:\s*"(?:data:[^,"]{0,64},)?([A-Za-z0-9+/]{16,%d})' % (HEADER_BYTES * 2)
)


async def relay(
    request: web.Request, provider: ClientResponse, outcome: Outcome
) -> web.StreamResponse:
    """Pass a provider's answer on, piece by piece; its beginning is taken out of the outcome."""
    attempt, head = request[ATTEMPT], outcome.head
    response = web.StreamResponse(status=provider.status, headers=outcome.headers)
    if attempt.capture and is_compressed(provider):
        attempt.capture.chunks = None
    found = measure_first_image(b"".join(head))
    if found:
        attempt.receipt = attempt.receipt.with_lines(*measured_receipt(1, found, attempt.params))
    settings = request[SNAPSHOT].settings
    pieces = _relay_chunks(provider, head, settings.limits.reply_bytes, settings.timeouts.total)
    if response.content_type == "text/event-stream":
        # One of the events may be an error.
        pieces = redact_stream(pieces, outcome.secrets)
        pieces = _add_keepalives(pieces, settings.images.comment_seconds)
    answered = await stream_response(request, response, pieces)
    # It was not read: as many as were asked for, all like the first.
    attempt.images_out = [BilledImage(attempt.target, pixel_count(found))] * requested_count(
        attempt
    )
    return answered


async def _relay_chunks(
    provider: ClientResponse, head: list[bytes], limit: int, total_timeout: float
) -> AsyncGenerator[bytes, None]:
    """Give at most `room` bytes, for which the provider is waited for `patience` seconds in all."""
    limit -= sum(map(len, head))
    while head:
        yield head.pop(0)
    content, clock, waited = provider.content, asyncio.get_running_loop().time, 0.0
    while not content.at_eof():
        began = clock()
        with map_client_errors():
            piece = await content.readany()
        # The time in which the client takes a piece is not the provider's.
        waited += clock() - began
        limit -= len(piece)
        if limit < 0:
            raise reply_too_large()
        if waited > total_timeout:
            raise total_timeout_error(total_timeout)
        if piece:
            yield piece
        del piece  # See `poured`.


async def _add_keepalives(
    pieces: AsyncIterator[bytes], seconds: float
) -> AsyncGenerator[bytes, None]:
    """Put comments between two events that are far apart; one that has begun is left alone."""
    end = b""
    async with aclosing(with_keepalives(pieces, seconds)) as heard:
        async for piece in heard:
            if piece is not None:
                # The blank line after an event may have come in two pieces.
                end = (end + piece)[-4:]
                yield piece
            elif end.endswith((b"\n\n", b"\r\n\r\n")):
                yield KEEPALIVE_COMMENT


def measure_first_image(head: bytes) -> ImageHeader | None:
    """Measure the picture at the beginning of an answer in OpenAI's shape, if there is one.

    >>> first_picture(b'{"data": [{"b64_json": "R0lGODlhAgADAIAAAAAAAAAA')
    Measured(media_type='image/gif', width=2, height=3)
    """
    if not (found := _IMAGE.search(head)):
        return None
    text = found[1].decode()
    made = measure_base64(text[: len(text) // 4 * 4])
    return made if made.media_type else None
