"""Reading replies whole, within limits, and telling which headers go on to the client."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import lru_cache

from aiohttp import ClientResponse
from multidict import CIMultiDict

from adapters.http import ProviderReply
from proxy.errors import UpstreamFailed
from proxy.http.forwarding import named_by_connection
from proxy.http.status import is_error, is_redirect, is_success
from proxy.upstream.base64_extract import LONG, Sieve
from proxy.upstream.errors import translated

ERROR_LIMIT = 1024 * 1024
"""Bytes of an error reply that are read."""

# RFC 9110, 7.6.1: they belong to one connection. The rest speak of the provider's own site.
_NOT_RELAYED = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("set-cookie", "server", "date", "alt-svc", "strict-transport-security", "via", "nel"),
        *("report-to", "content-security-policy", "clear-site-data"),
        # A web server in front of this one would obey them, and open its own files.
        *("x-accel-redirect", "x-sendfile", "x-lighttpd-send-file", "x-reproxy-url"),
    }
)
_NOT_RELAYED_PREFIXES = ("x-portkey-", "x-easel-", "access-control-", "cf-")
_ABOUT_THE_BODY = frozenset(
    {"content-type", "content-length", "content-encoding", "etag", "last-modified"}
    | {"accept-ranges", "content-disposition", "content-md5", "digest", "age", "expires", "vary"}
)

_USUAL = 64
"""Characters of a header's name that is worth remembering."""
_FREELY, _WITH_THE_BODY = "freely", "with the body"


def relayed_headers(
    headers: Mapping[str, str], secrets: frozenset[str] = frozenset(), *, whole: bool
) -> CIMultiDict[str]:
    """Pick the provider's headers for the client; `whole`: the body goes unchanged as well.

    One that repeats one of the `secrets` stays here, and so does one that cannot be written again.
    """
    of_connection = named_by_connection(headers) if "connection" in headers else ()
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if (relayed := _relayed(name))
        and (whole or relayed == _FREELY)
        and value.replace("\t", " ").isprintable()
        and not any(secret in value for secret in secrets)
        and not (of_connection and name.lower() in of_connection)
    )


def _relayed(name: str) -> str:
    """Tell whether a header is relayed: "" where it is not."""
    return _judged(name) if len(name) <= _USUAL else _judged.__wrapped__(name)


@lru_cache(4096)
def _judged(name: str) -> str:
    lower = name.lower()
    if lower in _NOT_RELAYED or lower.startswith(_NOT_RELAYED_PREFIXES):
        return ""
    return _WITH_THE_BODY if lower in _ABOUT_THE_BODY else _FREELY


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


def blotted(body: bytes, secrets: frozenset[str]) -> bytes:
    """Blot the secrets out of what may be an error: it is no more than `ERROR_LIMIT` bytes."""
    if len(body) <= ERROR_LIMIT:
        for secret in secrets:
            body = body.replace(secret.encode(), b"***")
    return body


async def blotted_pieces(
    pieces: AsyncIterator[bytes], secrets: frozenset[str]
) -> AsyncGenerator[bytes, None]:
    """Blot the secrets out of what comes in pieces; the end of one that may begin a secret waits.

    A piece that holds none goes on as the same object.
    """
    sought = [secret.encode() for secret in secrets]
    held = b""
    async for piece in pieces:
        text = held + piece if held else piece
        for secret in sought:
            text = text.replace(secret, b"*" * len(secret))  # its length was announced
        size = max((_begun(text, secret) for secret in sought), default=0)
        text, held = (text[:-size], text[-size:]) if size else (text, b"")
        if text:
            yield text
        del piece, text  # They may be large, and the next one be long in coming.
    if held:
        yield held


def _begun(text: bytes, secret: bytes) -> int:
    """Tell how many bytes at the end of a text are the beginning of a secret."""
    sizes = range(min(len(secret) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(secret[:size])), 0)


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
