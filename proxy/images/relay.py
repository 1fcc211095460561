"""The fast path: a provider's answer goes through as it comes, unread.

Only its beginning is looked at, while nothing has gone: a picture there is measured.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

from aiohttp import ClientResponse, web

from adapters.pictures import HEAD, Measured
from proxy.images.committing import poured
from proxy.images.heartbeat import BEAT, or_silence
from proxy.images.sources import lines_of, measured_text
from proxy.keys import ATTEMPT, SETTINGS
from proxy.upstream.deadlines import TO_ITS_END, worked_too_long
from proxy.upstream.faults import translated
from proxy.upstream.replies import is_compressed, too_much

_PICTURE = re.compile(
    rb'"b64_json"\s*:\s*"(?:data:[^,"]{0,64},)?([A-Za-z0-9+/]{16,%d})' % (HEAD * 2)
)


async def relay(
    request: web.Request, provider: ClientResponse, headers: Mapping[str, str], head: list[bytes]
) -> web.StreamResponse:
    """Pass a provider's answer on, piece by piece; its beginning is taken out of `head`."""
    attempt = request[ATTEMPT]
    response = web.StreamResponse(status=provider.status, headers=headers)
    if attempt.recording and is_compressed(provider):
        attempt.recording.chunks = None
    if found := first_picture(b"".join(head)):
        attempt.receipt = attempt.receipt.plus(*lines_of(1, found, attempt.params))
    settings = request.app[SETTINGS]
    most, seconds = settings.limits.reply_bytes, settings.timeouts.total * TO_ITS_END
    pieces = _pieces(provider, head, most, seconds)
    if response.content_type == "text/event-stream":
        pieces = _with_comments(pieces, settings.images.comment_seconds)
    return await poured(request, response, pieces)


async def _pieces(
    provider: ClientResponse, head: list[bytes], room: int, most: float
) -> AsyncGenerator[bytes, None]:
    """Give an answer of at most `room` bytes, for which the provider takes `most` seconds.

    A client that reads slowly may take longer: only what the provider takes is counted.
    """
    room, left = room - sum(map(len, head)), most
    while head:
        yield head.pop(0)
    content, clock = provider.content, asyncio.get_running_loop().time
    while not content.at_eof():
        left += clock()
        with translated():
            piece = await content.readany()
        left -= clock()
        room -= len(piece)
        if room < 0:
            raise too_much()
        if left < 0:
            raise worked_too_long(most)
        if piece:
            yield piece
        del piece  # See `poured`.


async def _with_comments(
    pieces: AsyncIterator[bytes], seconds: float
) -> AsyncGenerator[bytes, None]:
    """Put comments between two events that are far apart; one that has begun is left alone."""
    end = b""
    async with aclosing(or_silence(pieces, seconds)) as heard:
        async for piece in heard:
            if piece is not None:
                # The blank line after an event may have come in two pieces.
                end = (end + piece)[-4:]
                yield piece
            elif end.endswith((b"\n\n", b"\r\n\r\n")):
                yield BEAT


def first_picture(head: bytes) -> Measured | None:
    """Measure the picture at the beginning of an answer in OpenAI's shape, if there is one.

    >>> first_picture(b'{"data": [{"b64_json": "R0lGODlhAgADAIAAAAAAAAAA')
    Measured(media_type='image/gif', width=2, height=3)
    """
    if not (found := _PICTURE.search(head)):
        return None
    text = found[1].decode()
    made = measured_text(text[: len(text) // 4 * 4])
    return made if made.media_type else None
