"""Fetching a picture from the URL that a provider answered with; no credential goes along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientResponse

from adapters.contract import Image
from adapters.http import ProviderRequest
from adapters.tools.image_header import HEADER_BYTES, ImageHeader, read_image_header
from proxy.errors import UpstreamFailed
from proxy.http.status import OK
from proxy.routing.plan import Target
from proxy.upstream.connector import Connectors
from proxy.upstream.errors import map_client_errors
from proxy.upstream.exchange import exchange
from proxy.upstream.reply import is_compressed, read_bytes, read_head, reply_too_large
from proxy.upstream.timeout import total_timeout_error

_READ_WHOLE_LIMIT = 1024 * 1024
"""Bytes up to which a picture is fetched whole: one that breaks off then spoils no others."""


@dataclass(frozen=True, slots=True, repr=False)
class Download:
    """A picture that is on its way: its beginning, what that says, and the pieces that follow.

    `length` is its size in bytes, where the other side told.
    """

    head: bytes
    measured: ImageHeader
    length: int | None
    rest: AsyncIterator[bytes]


@asynccontextmanager
async def download(
    connectors: Connectors, target: Target, image: Image, limit: int, seconds: float
) -> AsyncIterator[Download]:
    """Open the URL of a picture of at most `limit` bytes; raises `UpstreamFailed`.

    What follows its beginning may be waited for `most` seconds in all.
    """
    request = ProviderRequest(url=image.url, method="GET", authenticated=False)
    async with exchange(connectors, target, request) as response:
        if response.status != OK:
            raise UpstreamFailed(
                f"The picture was made, but its URL answered {response.status}.",
                code="picture_lost",
            )
        if (response.content_length or 0) > limit:
            raise reply_too_large()
        # Nobody asked for compression, so it is rare: it is undone in one go.
        compressed = is_compressed(response)
        if compressed or 0 < (response.content_length or 0) <= _READ_WHOLE_LIMIT:
            whole = await read_bytes(response, limit)
            yield Download(whole, _require_image(whole), len(whole), _no_chunks())
            return
        head = await read_head(response, HEADER_BYTES)
        if len(head) > limit:
            raise reply_too_large()
        rest = _stream_rest(response, limit - len(head), seconds)
        yield Download(head, _require_image(head), response.content_length, rest)


def _require_image(head: bytes) -> ImageHeader:
    found = read_image_header(head)
    if not found.media_type:
        raise UpstreamFailed(
            "The picture was made, but its URL answered something else.", code="picture_lost"
        )
    return found


async def _stream_rest(response: ClientResponse, room: int, most: float) -> AsyncIterator[bytes]:
    """Give what follows, piece by piece; a client that reads slowly may take longer."""
    left, clock = most, asyncio.get_running_loop().time
    while True:
        left += clock()
        with map_client_errors():
            piece = await response.content.readany()
        left -= clock()
        if not piece:
            return
        room -= len(piece)
        if room < 0:
            raise reply_too_large()
        if left < 0:
            raise total_timeout_error(most)
        yield piece


async def _no_chunks() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece
