"""Reads replies whole, within limits, and decompresses and redacts them."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from aiohttp import ClientResponse

from adapters.http import ProviderReply
from proxy.errors import UpstreamFailed
from proxy.http.status import is_error, is_redirect, is_success
from proxy.upstream.base64_extract import MIN_LENGTH, Base64Extractor
from proxy.upstream.errors import map_client_errors
from proxy.upstream.redact import ERROR_LIMIT, redact


async def read_reply(
    response: ClientResponse,
    limit: int,
    secrets: frozenset[str] = frozenset(),
    head: bytes = b"",
    extractor: Base64Extractor | None = None,
) -> ProviderReply:
    """Read a reply to its end, at most `limit` bytes of it before and after decompression.

    `head` was already read of its body. `extractor` takes images out of a success in JSON. The
    `secrets` are redacted in every reply that may be an error: an error can have any status.
    """
    if is_redirect(response.status):
        raise UpstreamFailed(
            f"The provider answered with a redirect ({response.status}); it was not followed. "
            "The base URL may be wrong.",
            code="redirected",
        )
    if is_error(response.status):
        limit = min(limit, ERROR_LIMIT)
    if extractor and _may_hold_images(response):
        body = await _read_skeleton(response, limit, head, extractor)
    else:
        body = await read_bytes(response, limit, head)
    body = redact(body, secrets)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return ProviderReply(response.status, headers, body)


async def read_head(response: ClientResponse, size: int) -> bytes:
    """Read a body until it ends, or until more than `size` bytes are there."""
    head = b""
    with map_client_errors():
        while len(head) <= size and not response.content.at_eof():
            head += await response.content.readany()
    return head


def _may_hold_images(response: ClientResponse) -> bool:
    """Return whether a reply is uncompressed JSON that is long enough to contain images."""
    length = response.content_length
    is_long = length is None or length > MIN_LENGTH
    return (
        is_long
        and is_success(response.status)
        and response.content_type.endswith("json")
        and not is_compressed(response)
    )


async def _read_skeleton(
    response: ClientResponse, limit: int, head: bytes, extractor: Base64Extractor
) -> bytes:
    """Read a body through an extractor; return the JSON without the extracted images."""
    await extractor.feed(head)
    async for chunk in _read_chunks(response, limit - len(head)):
        await extractor.feed(chunk)
    return bytes(extractor.skeleton)


async def read_bytes(response: ClientResponse, limit: int, head: bytes = b"") -> bytes:
    """Read a body (`head` and the rest), at most `limit` bytes before and after decompression."""
    chunks = [head]
    chunks += [chunk async for chunk in _read_chunks(response, limit - len(head))]
    return decompress(b"".join(chunks), response.headers.get("content-encoding", ""), limit)


async def _read_chunks(response: ClientResponse, limit: int) -> AsyncIterator[bytes]:
    """Yield the rest of a body, at most `limit` bytes."""
    with map_client_errors():
        while not response.content.at_eof():
            chunk = await response.content.readany()
            limit -= len(chunk)
            if limit < 0:
                raise reply_too_large()
            yield chunk


def is_compressed(response: ClientResponse) -> bool:
    """Return whether a body is compressed, although the gateway never asks for that."""
    return response.headers.get("content-encoding", "").strip().lower() not in ("", "identity")


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a body after undoing gzip or deflate, although the gateway never asks for them.

    >>> decompress(b"plain", "identity", 10)
    b'plain'
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UpstreamFailed(
            "The provider's response has a content-encoding that was not requested.",
            code="bad_answer",
        )
    try:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise _damaged_reply() from None
    if len(plain) > limit:
        raise reply_too_large()
    if not inflater.eof:
        raise _damaged_reply()
    return plain


def _damaged_reply() -> UpstreamFailed:
    return UpstreamFailed("The provider's response cannot be decompressed.", code="bad_answer")


def reply_too_large() -> UpstreamFailed:
    """Return the error for a reply that is larger than the limits allow."""
    return UpstreamFailed(
        "The provider's response is larger than the limits allow.", code="too_large"
    )
