"""Fetching a picture from the URL that a provider answered with; no credential goes along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientResponse

from adapters.contract import Image
from adapters.http import ProviderRequest
from adapters.tools.image_header import HEAD, Measured, measured
from proxy.errors import UpstreamFailed
from proxy.http.status import OK
from proxy.routing.plan import Target
from proxy.upstream.connector import Dialer
from proxy.upstream.errors import translated
from proxy.upstream.exchange import exchange
from proxy.upstream.reply import is_compressed, read_bytes, read_head, too_much
from proxy.upstream.timeout import worked_too_long

_SMALL = 1024 * 1024
"""Bytes up to which a picture is fetched whole: one that breaks off then spoils no others."""


@dataclass(frozen=True, slots=True, repr=False)
class Download:
    """A picture that is on its way: its beginning, what that says, and the pieces that follow.

    `length` is its size in bytes, where the other side told.
    """

    head: bytes
    measured: Measured
    length: int | None
    rest: AsyncIterator[bytes]


@asynccontextmanager
async def download(
    dialer: Dialer, target: Target, image: Image, limit: int, most: float
) -> AsyncIterator[Download]:
    """Open the URL of a picture of at most `limit` bytes; raises `UpstreamFailed`.

    What follows its beginning may be waited for `most` seconds in all.
    """
    request = ProviderRequest(url=image.url, method="GET", signed=False)
    async with exchange(dialer, target, request) as response:
        if response.status != OK:
            raise UpstreamFailed(
                f"The picture was made, but its URL answered {response.status}.",
                code="picture_lost",
            )
        if (response.content_length or 0) > limit:
            raise too_much()
        # Nobody asked for compression, so it is rare: it is undone in one go.
        compressed = is_compressed(response)
        if compressed or 0 < (response.content_length or 0) <= _SMALL:
            whole = await read_bytes(response, limit)
            yield Download(whole, _picture(whole), len(whole), _nothing_more())
            return
        head = await read_head(response, HEAD)
        if len(head) > limit:
            raise too_much()
        rest = _rest(response, limit - len(head), most)
        yield Download(head, _picture(head), response.content_length, rest)


def _picture(head: bytes) -> Measured:
    found = measured(head)
    if not found.media_type:
        raise UpstreamFailed(
            "The picture was made, but its URL answered something else.", code="picture_lost"
        )
    return found


async def _rest(response: ClientResponse, room: int, most: float) -> AsyncIterator[bytes]:
    """Give what follows, piece by piece; a client that reads slowly may take longer."""
    left, clock = most, asyncio.get_running_loop().time
    while True:
        left += clock()
        with translated():
            piece = await response.content.readany()
        left -= clock()
        if not piece:
            return
        room -= len(piece)
        if room < 0:
            raise too_much()
        if left < 0:
            raise worked_too_long(most)
        yield piece


async def _nothing_more() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece
