"""Downloads an image from the URL in a provider's answer, without any credential."""

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
from proxy.upstream.reply import is_compressed, read_bytes, read_head
from proxy.upstream.reply_limits import reply_too_large
from proxy.upstream.timeout import total_timeout_error

_READ_WHOLE_LIMIT = 1024 * 1024
"""Images up to this many bytes are read whole, so that a broken one fails before any is sent."""


@dataclass(frozen=True, slots=True, repr=False)
class Download:
    """An image being downloaded: its first bytes, what its header says, and the remaining chunks.

    `length` is its size in bytes, None if the server did not send it.
    """

    head: bytes
    measured: ImageHeader
    length: int | None
    rest: AsyncIterator[bytes]


@asynccontextmanager
async def download(
    connectors: Connectors, target: Target, image: Image, limit: int, seconds: float
) -> AsyncIterator[Download]:
    """Open the URL of an image of at most `limit` bytes; raise `UpstreamFailed`.

    Waiting for the chunks after the first bytes may take at most `seconds` in all.
    """
    request = ProviderRequest(url=image.url, method="GET", authenticated=False)
    async with exchange(connectors, target, request) as response:
        if response.status != OK:
            raise UpstreamFailed(
                f"The image was generated, but its URL returned HTTP {response.status}.",
                code="picture_lost",
            )
        if (response.content_length or 0) > limit:
            raise reply_too_large()
        # Compression is rare, because it was not requested: such a body is read whole.
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
    """Return the header of an image; raise `UpstreamFailed` if the bytes are not an image."""
    header = read_image_header(head)
    if not header.media_type:
        raise UpstreamFailed(
            "The image was generated, but its URL returned something that is not an image.",
            code="picture_lost",
        )
    return header


async def _stream_rest(
    response: ClientResponse, limit: int, seconds: float
) -> AsyncIterator[bytes]:
    """Yield the remaining chunks. Only waiting for the server counts, not a slow client."""
    remaining, clock = seconds, asyncio.get_running_loop().time
    while True:
        remaining += clock()
        with map_client_errors():
            chunk = await response.content.readany()
        remaining -= clock()
        if not chunk:
            return
        limit -= len(chunk)
        if limit < 0:
            raise reply_too_large()
        if remaining < 0:
            raise total_timeout_error(seconds)
        yield chunk


async def _no_chunks() -> AsyncIterator[bytes]:
    for chunk in list[bytes]():
        yield chunk
