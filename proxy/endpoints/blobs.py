"""GET and HEAD of a blob: the URL's signature is the key, and the answer is never a page.

| the URL is | answer |
| --- | --- |
| not signed here, in whatever way | 404, as for any path where nothing is |
| signed, and over; or the picture was given up | 410 |
| good, and the client has the picture | 304 |
| good, with a range that the picture has, or has not | 206, 416 |
| good | 200 |
"""

from __future__ import annotations

import re
import time

from aiohttp import web

from proxy.blobs.media_types import SVG
from proxy.blobs.store import BLOBS
from proxy.blobs.urls import SIGNER, Link
from proxy.context import COMMITTED, ERROR_CODE
from proxy.errors import BlobGone, BlobStoreFailed, RangeNotSatisfiable
from proxy.http.status import NOT_MODIFIED, OK, PARTIAL_CONTENT

_RANGE_HEADER = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


async def get_blob(request: web.Request) -> web.StreamResponse:
    """GET /v1/images/blobs/{name}: the picture, or the part of it that is asked for."""
    link = request.app[SIGNER].opened(request.match_info["name"], request.query)
    if link is None:
        raise web.HTTPNotFound
    left = link.expires - int(time.time())
    if left <= 0:
        raise BlobGone("The picture's URL has expired; ask for the picture again.")
    size = await request.app[BLOBS].head(link.place)
    if size is None:
        raise BlobGone("The picture is not kept any more; ask for it again.")
    headers = _blob_headers(link, left)
    if _etag_matches(headers["ETag"], request.headers.get("If-None-Match", "")):
        return web.Response(status=NOT_MODIFIED, headers=headers)
    start, end = _requested_range(request, headers["ETag"], size)
    response = web.StreamResponse(status=OK, headers=headers)
    response.content_length = end - start
    if end - start < size:
        response.set_status(PARTIAL_CONTENT)
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    await _send_bytes(request, response, link, start, end)
    return response


async def _send_bytes(
    request: web.Request, response: web.StreamResponse, link: Link, start: int, end: int
) -> None:
    """Write the bytes, as fast as they are read; what cannot be finished is cut."""
    try:
        await response.prepare(request)
        if request.method == "HEAD":
            return
        async for piece in request.app[BLOBS].get_range(link.place, start, end):
            await response.write(piece)
    except (ConnectionError, BlobStoreFailed) as error:
        if not request.get(COMMITTED):
            raise
        request[ERROR_CODE] = getattr(error, "code", None) or "client_gone"
        if request.transport:
            request.transport.abort()


def _blob_headers(link: Link, left: int) -> dict[str, str]:
    """Give what goes with every answer: no browser shall take a picture for anything else."""
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={left}, immutable",
        "Content-Disposition": "attachment" if link.media_type == SVG else "inline",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Type": link.media_type,
        "Cross-Origin-Resource-Policy": "cross-origin",
        # A blob never changes.
        "ETag": f'"{link.id}"',
        "X-Content-Type-Options": "nosniff",
    }


def _etag_matches(etag: str, header: str) -> bool:
    """Tell whether If-None-Match names a tag; weakly, as RFC 9110 13.1.2 has it."""
    named = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in named or "*" in named


def _requested_range(request: web.Request, etag: str, size: int) -> tuple[int, int]:
    """Give the bytes that are asked for, from the first to before the last.

    All of them, where the range is not one of bytes, is more than one, or was meant for another
    state of the picture (RFC 9110 14.2 lets a server ignore what it does not want to serve).
    """
    asked = _RANGE_HEADER.fullmatch(request.headers.get("Range", ""))
    other = request.headers.get("If-Range", etag) != etag
    if request.method != "GET" or other or not asked or asked[0] == "bytes=-":
        return 0, size
    first, last = asked[1], asked[2]
    if first and last and int(last) < int(first):
        return 0, size
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise RangeNotSatisfiable(size)
    return start, end
