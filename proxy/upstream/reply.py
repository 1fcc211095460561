"""Reading replies whole, within limits, and telling which headers go on to the client."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from aiohttp import ClientResponse

from adapters.http import ProviderReply
from proxy.errors import UpstreamFailed
from proxy.http.status import is_error, is_redirect, is_success
from proxy.upstream.base64_extract import LONG, Sieve
from proxy.upstream.errors import translated
from proxy.upstream.redact import ERROR_LIMIT, blotted


async def read_reply(
    response: ClientResponse,
    limit: int,
    secrets: frozenset[str] = frozenset(),
    head: bytes = b"",
    sieve: Sieve | None = None,
) -> ProviderReply:
    """Read a reply to its end, at most `limit` bytes of it before and after decompression.

    `head` is what has been read of it before. Of a success in JSON, `sieve` may take pictures out.
    Where a reply that may be an error repeats one of
    the `secrets`, it is blotted out: an error can come with any status.
    """
    if is_redirect(response.status):
        raise UpstreamFailed(
            f"The provider answered with a redirect ({response.status}); it was not followed. "
            "Its address may have to be corrected.",
            code="redirected",
        )
    if is_error(response.status):
        limit = min(limit, ERROR_LIMIT)
    if sieve and _has_room_for_pictures(response):
        body = await _sifted(response, limit, head, sieve)
    else:
        body = await read_bytes(response, limit, head)
    body = blotted(body, secrets)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return ProviderReply(response.status, headers, body)


async def read_head(response: ClientResponse, size: int) -> bytes:
    """Read a body until it ends, or until more than `size` bytes are there."""
    head = b""
    with translated():
        while len(head) <= size and not response.content.at_eof():
            head += await response.content.readany()
    return head


def _has_room_for_pictures(response: ClientResponse) -> bool:
    """Tell whether a body is JSON, as it came, and so long that there may be pictures in it."""
    length = response.content_length
    is_long = length is None or length > LONG
    return (
        is_long
        and is_success(response.status)
        and response.content_type.endswith("json")
        and not is_compressed(response)
    )


async def _sifted(response: ClientResponse, limit: int, head: bytes, sieve: Sieve) -> bytes:
    """Read a body; gives what the sieve leaves of it."""
    await sieve.feed(head)
    async for chunk in _chunks(response, limit - len(head)):
        await sieve.feed(chunk)
    return bytes(sieve.left)


async def read_bytes(response: ClientResponse, limit: int, head: bytes = b"") -> bytes:
    """Read a body (`head` and the rest), at most `limit` bytes before and after decompression."""
    chunks = [head]
    chunks += [chunk async for chunk in _chunks(response, limit - len(head))]
    return decoded(b"".join(chunks), response.headers.get("content-encoding", ""), limit)


async def _chunks(response: ClientResponse, room: int) -> AsyncIterator[bytes]:
    """Read what follows of a body, at most so many bytes."""
    with translated():
        while not response.content.at_eof():
            chunk = await response.content.readany()
            room -= len(chunk)
            if room < 0:
                raise too_much()
            yield chunk


def is_compressed(response: ClientResponse) -> bool:
    """Tell whether a body is compressed, although we never ask for it."""
    return response.headers.get("content-encoding", "").strip().lower() not in ("", "identity")


def decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo gzip or deflate, although we never ask for them.

    >>> decoded(b"plain", "identity", 10)
    b'plain'
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UpstreamFailed(
            "The provider's answer is compressed in a way we did not ask for.", code="bad_answer"
        )
    try:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise _damaged() from None
    if len(plain) > limit:
        raise too_much()
    if not inflater.eof:
        raise _damaged()
    return plain


def _damaged() -> UpstreamFailed:
    return UpstreamFailed("The provider's answer is damaged.", code="bad_answer")


def too_much() -> UpstreamFailed:
    """Say that a provider sent more than the limits allow."""
    return UpstreamFailed("The provider's answer is larger than limits allow.", code="too_large")
