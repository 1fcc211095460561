"""Downloads an image from the URL in a provider's answer, without any credential.

Redirects are followed here, one request each, and nowhere else: a request that is signed or paid
for is sent to one URL only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from aiohttp import ClientResponse
from yarl import URL

from adapters.contract import Image
from adapters.http import ProviderRequest
from adapters.tools.image_header import HEADER_BYTES, ImageHeader, read_image_header
from proxy.errors import UpstreamFailed
from proxy.http.status import OK, is_redirect
from proxy.routing.plan import Target
from proxy.upstream.connector import Connectors
from proxy.upstream.errors import map_client_errors
from proxy.upstream.exchange import exchange
from proxy.upstream.http1 import read_arrived
from proxy.upstream.redact import redact_text
from proxy.upstream.reply import is_compressed, read_bytes, read_head
from proxy.upstream.reply_limits import reply_too_large
from proxy.upstream.timeout import total_timeout_error

_READ_WHOLE_LIMIT = 1024 * 1024
"""Images up to this many bytes are read whole, so that a broken one fails before any is sent."""
_MAX_REDIRECTS = 5
_MAX_SHOWN = 2048
"""Longest URL, in characters, that an error repeats."""
_KEPT = "%/:?#[]@!$&'()*+,;=-._~|"
"""Characters of a path or query that are sent as they are, besides letters and digits."""
_NO_LINE_BREAKS = str.maketrans("", "", "\t\r\n")


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
    """Open the URL of an image of at most `limit` bytes; raise `UpstreamFailed` that names the URL.

    Redirects are followed. Waiting for the chunks after the first bytes may take at most `seconds`
    in all.
    """
    async with AsyncExitStack() as stack:
        try:
            response = await _follow(connectors, target, image.url, stack)
            opened = await _read_start(response, limit, seconds)
        except UpstreamFailed as error:
            raise _with_url(error, image.url, target) from None
        yield opened


async def _follow(
    connectors: Connectors, target: Target, url: str, stack: AsyncExitStack
) -> ClientResponse:
    """Return the response at the end of at most `_MAX_REDIRECTS` redirects, with status 200.

    Each URL is a request of its own, whose address is checked where its socket is made. Private
    addresses are allowed only at the target's own origin, and not by way of another one.
    """
    origin = URL(target.base_url, encoded=True).origin()
    with map_client_errors(by_provider=True):
        current = resolve_image_url(url, target.base_url)
    has_left = False
    for _ in range(_MAX_REDIRECTS + 1):
        is_home = current.origin() == origin
        if is_home and has_left and target.allow_private_network:
            raise UpstreamFailed(
                "The image was generated, but its URL was redirected to a forbidden address.",
                code="foreign_url",
            )
        has_left = has_left or not is_home
        request = ProviderRequest(url=str(current), method="GET", authenticated=False)
        response = await stack.enter_async_context(exchange(connectors, target, request))
        location = response.headers.get("location", "")
        if not (is_redirect(response.status) and location):
            break
        with map_client_errors(by_provider=True):
            current = resolve_image_url(location, str(current))
        await stack.aclose()
    else:
        raise UpstreamFailed(
            f"The image was generated, but its URL redirects more than {_MAX_REDIRECTS} times.",
            code="picture_lost",
        )
    if response.status != OK:
        raise UpstreamFailed(
            f"The image was generated, but its URL returned HTTP {response.status}.",
            code="picture_lost",
        )
    return response


async def _read_start(response: ClientResponse, limit: int, seconds: float) -> Download:
    """Read the first bytes of an image, or all of a small one."""
    if (response.content_length or 0) > limit:
        raise reply_too_large()
    # Compression is rare, because it was not requested: such a body is read whole.
    if is_compressed(response) or 0 < (response.content_length or 0) <= _READ_WHOLE_LIMIT:
        whole = await read_bytes(response, limit)
        return Download(whole, _require_image(whole), len(whole), _no_chunks())
    head = await read_head(response, HEADER_BYTES)
    if len(head) > limit:
        raise reply_too_large()
    rest = _stream_rest(response, limit - len(head), seconds)
    return Download(head, _require_image(head), response.content_length, rest)


def resolve_image_url(text: str, base: str) -> URL:
    """Return the URL of an image as a browser would request it; raises `ValueError`.

    Blanks around it are removed, those within and other characters are percent-encoded, and a
    relative URL is resolved against `base`. What is encoded already stays as it is, because a
    signature may cover it.

    >>> str(resolve_image_url(" http://host/a b.png?x=%2F ", ""))
    'http://host/a%20b.png?x=%2F'
    >>> str(resolve_image_url("/files/x.png", "https://api.host/v1"))
    'https://api.host/files/x.png'
    """
    text = urljoin(base, text.strip().translate(_NO_LINE_BREAKS))
    parts = urlsplit(text)
    if not parts.netloc.isascii():
        parts = parts._replace(netloc=parts.netloc.encode("idna").decode())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not the URL of an image")
    path, query = (quote(it, safe=_KEPT) for it in (parts.path, parts.query))
    url = f"{parts.scheme}://{parts.netloc}{path or '/'}"
    return URL(f"{url}?{query}" if query else url, encoded=True)


def _with_url(error: UpstreamFailed, url: str, target: Target) -> UpstreamFailed:
    """Return an error that also says which URL was paid for: it may work elsewhere."""
    shown = redact_text(url.strip(), target.secrets)
    if len(shown) > _MAX_SHOWN or not shown.isprintable():
        return error
    message = f"{error.message} The image was paid for and is at {shown}"
    return UpstreamFailed(message, status=error.status, code=error.code)


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
            chunk = await read_arrived(response.content)
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
