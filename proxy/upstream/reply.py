"""Reads replies whole, within limits, and decompresses and redacts them."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncIterator

from aiohttp import ClientResponse

from adapters.http import ProviderReply
from adapters.tools.image_header import detect_media_type
from adapters.tools.sse import is_event_text
from proxy.errors import UpstreamFailed
from proxy.http.status import is_error, is_redirect, is_success
from proxy.upstream.base64_extract import MIN_LENGTH, Base64Extractor
from proxy.upstream.errors import ended_early, map_client_errors
from proxy.upstream.http1 import read_arrived
from proxy.upstream.redact import ERROR_LIMIT, redact
from proxy.upstream.reply_limits import check_values, has_too_many_values, inflate, reply_too_large

_RECOGNIZED = 512
"""Bytes by which an image is recognised."""
_JSON_STARTS = (b"{", b"[")
PARSED_IN_LOOP = 1024 * 1024
"""Largest body, in bytes, that is parsed in the event loop; a larger one is parsed in a thread."""


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
    await check_values(body)
    headers = {name.lower(): value for name, value in response.headers.items()}
    reply = ProviderReply(response.status, headers, body)
    if len(body) > PARSED_IN_LOOP:
        await asyncio.to_thread(reply.json)
    return reply


def check_whole(reply: ProviderReply) -> None:
    """Raise `UpstreamFailed` for a success whose JSON has no end: it may have been charged."""
    if is_success(reply.status) and _begins_json(reply.body) and reply.json() is None:
        raise ended_early()


def _begins_json(body: bytes) -> bool:
    r"""Return whether a text begins like an object, or like a list that is not closed.

    >>> [_begins_json(it) for it in (b'\r\n{"a', b'[{"a', b"[[]]", b"[failed] No.", b"<html>")]
    [True, True, False, False, False]
    """
    start = body[:_RECOGNIZED].removeprefix(BOM_UTF8).lstrip()
    if start[:1] != b"[":
        return start[:1] == b"{"
    return start[1:].lstrip()[:1] in (b"{", b"[", b'"') and not body.rstrip().endswith(b"]")


async def read_head(response: ClientResponse, size: int, *, lenient: bool = False) -> bytes:
    """Read a body until it ends, or until more than `size` bytes are there.

    If it is `lenient`, a lost connection ends a body without a length, too; the next read raises
    the error.
    """
    head = b""
    try:
        with map_client_errors():
            while len(head) <= size and not response.content.at_eof():
                head += await read_arrived(response.content)
    except UpstreamFailed:
        if not (lenient and head and response.content_length is None):
            raise
    return head


def _may_hold_images(response: ClientResponse) -> bool:
    """Return whether a reply is JSON, or events, long enough to contain images."""
    length = response.content_length
    is_long = length is None or length > MIN_LENGTH or is_compressed(response)
    holds_json = response.content_type.endswith(("json", "event-stream"))
    return is_long and is_success(response.status) and holds_json


async def _read_skeleton(
    response: ClientResponse, limit: int, head: bytes, extractor: Base64Extractor
) -> bytes:
    """Read a body through an extractor; return the JSON without the extracted images."""
    try:
        async for chunk in read_plain(response, limit, head):
            await extractor.feed(chunk)
    except UpstreamFailed as error:
        if not _is_whole_without_end(response, error, bytes(extractor.skeleton)):
            raise
    return bytes(extractor.skeleton)


async def read_bytes(response: ClientResponse, limit: int, head: bytes = b"") -> bytes:
    """Read a body (`head` and the rest), at most `limit` bytes before and after decompression."""
    chunks: list[bytes] = []
    try:
        async for chunk in read_plain(response, limit, head):
            chunks.append(chunk)  # noqa: PERF401 - what was read before an error counts
    except UpstreamFailed as error:
        if not _is_whole_without_end(response, error, b"".join(chunks)):
            raise
    return b"".join(chunks)


def _is_whole_without_end(response: ClientResponse, error: UpstreamFailed, body: bytes) -> bool:
    """Return whether a body whose connection was lost is a whole JSON object nevertheless.

    A body in chunks lacks its last one then; a body with a length lacks bytes. A long one, or one
    with many values, is not tried.
    """
    if error.code != "connection_lost" or response.content_length is not None:
        return False
    if len(body) > PARSED_IN_LOOP or has_too_many_values(body):
        return False
    return ProviderReply(response.status, body=body).json() is not None


async def read_plain(
    response: ClientResponse, limit: int, head: bytes = b""
) -> AsyncIterator[bytes]:
    """Yield a body (`head` and the rest) without its compression.

    At most `limit` bytes are read, and yielded.
    """
    if is_compressed(response):
        first = await read_head(response, _RECOGNIZED - len(head))
        chunks = _read_chunks(response, limit, head + first)
        if not is_plain(head + first):
            chunks = inflate(chunks, response.headers["content-encoding"], limit)
    else:
        chunks = _read_chunks(response, limit, head)
    async for chunk in chunks:
        yield chunk


async def _read_chunks(response: ClientResponse, limit: int, head: bytes) -> AsyncIterator[bytes]:
    """Yield `head` and the rest of a body, at most `limit` bytes."""
    limit -= len(head)
    if head:
        yield head
    with map_client_errors():
        while not response.content.at_eof():
            chunk = await read_arrived(response.content)
            limit -= len(chunk)
            if limit < 0:
                raise reply_too_large()
            yield chunk


def is_plain(head: bytes) -> bool:
    """Return whether a body begins with an image, JSON or events, whatever its encoding claims.

    Object stores label plain files as `aws-chunked`, or with the encoding of an upload.

    >>> is_plain(b"GIF89a" + bytes(20)), is_plain(b'{"data"'), is_plain(bytes.fromhex("1f8b08"))
    (True, True, False)
    """
    if detect_media_type(head) or is_event_text(head):
        return True
    return head.lstrip()[:1] in _JSON_STARTS


def is_compressed(response: ClientResponse) -> bool:
    """Return whether a body is compressed, although the gateway never asks for that."""
    return response.headers.get("content-encoding", "").strip().lower() not in ("", "identity")
