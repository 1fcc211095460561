"""GET and HEAD /v1/images/blobs/{name}: stored images, by signed URLs.

The signature authorizes the request, and no browser may treat the response as a page.

| the URL | status |
| --- | --- |
| has no valid signature | 404 |
| has expired, or the image was deleted | 410 |
| is valid, and `If-None-Match` names the image | 304 |
| is valid, with a range inside or outside of the image | 206, 416 |
| is valid | 200 |
"""

from __future__ import annotations

import re
import time

from aiohttp import web

from proxy.blobs.keys import BLOBS, SIGNER
from proxy.blobs.media_types import SVG
from proxy.blobs.urls import BlobUrl
from proxy.context import COMMITTED, ERROR_CODE
from proxy.errors import BlobGone, BlobStoreFailed, GatewayError, RangeNotSatisfiable
from proxy.http.status import NOT_MODIFIED, OK, PARTIAL_CONTENT

_RANGE_HEADER = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


async def get_blob(request: web.Request) -> web.StreamResponse:
    """Respond with an image, or with the requested range of it."""
    url = request.app[SIGNER].verify(request.match_info["name"], request.query)
    if url is None:
        raise GatewayError(
            "Image not found: the URL's signature is missing or invalid. Use the URL exactly as it "
            "was returned.",
            status=404,
            type="invalid_request_error",
            code="unknown_route",
        )
    seconds_left = url.expires - int(time.time())
    if seconds_left <= 0:
        raise BlobGone("The image URL has expired. Request the image again.")
    size = await request.app[BLOBS].size(url.path)
    if size is None:
        raise BlobGone("The image was deleted from the store. Request it again.")
    headers = _blob_headers(url, seconds_left)
    if _etag_matches(headers["ETag"], request.headers.get("If-None-Match", "")):
        return web.Response(status=NOT_MODIFIED, headers=headers)
    start, end = _requested_range(request, headers["ETag"], size)
    response = web.StreamResponse(status=OK, headers=headers)
    response.content_length = end - start
    if end - start < size:
        response.set_status(PARTIAL_CONTENT)
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    await _send_bytes(request, response, url, start, end)
    return response


async def _send_bytes(
    request: web.Request, response: web.StreamResponse, url: BlobUrl, start: int, end: int
) -> None:
    """Send the bytes from `start` to before `end`; abort the connection if reading them fails."""
    try:
        await response.prepare(request)
        if request.method == "HEAD":
            return
        async for chunk in request.app[BLOBS].get_range(url.path, start, end):
            await response.write(chunk)
    except (ConnectionError, BlobStoreFailed) as error:
        if not request.get(COMMITTED):
            raise
        request[ERROR_CODE] = getattr(error, "code", None) or "client_gone"
        if request.transport:
            request.transport.abort()


def _blob_headers(url: BlobUrl, seconds_left: int) -> dict[str, str]:
    """Return the headers of every response: they stop a browser from running an image as a page."""
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={seconds_left}, immutable",
        "Content-Disposition": "attachment" if url.media_type == SVG else "inline",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Type": url.media_type,
        "Cross-Origin-Resource-Policy": "cross-origin",
        # The content of a blob never changes.
        "ETag": f'"{url.blob_id}"',
        "X-Content-Type-Options": "nosniff",
    }


def _etag_matches(etag: str, header: str) -> bool:
    """Whether If-None-Match names the tag; a weak comparison (RFC 9110 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in tags or "*" in tags


def _requested_range(request: web.Request, etag: str, size: int) -> tuple[int, int]:
    """Return the requested range as the first byte and the end; raises `RangeNotSatisfiable`.

    It is the whole image if the header is not a single byte range, or if If-Range names another
    version (RFC 9110 14.2 allows a server to ignore the Range header).
    """
    byte_range = _RANGE_HEADER.fullmatch(request.headers.get("Range", ""))
    is_other_version = request.headers.get("If-Range", etag) != etag
    if request.method != "GET" or is_other_version or not byte_range or byte_range[0] == "bytes=-":
        return 0, size
    first, last = byte_range[1], byte_range[2]
    if first and last and int(last) < int(first):
        return 0, size
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise RangeNotSatisfiable(size)
    return start, end
