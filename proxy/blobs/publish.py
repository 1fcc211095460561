"""Publishes an image: stores it and returns the signed URL for the client."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from aiohttp import web

from proxy.blobs.keys import BLOBS, SIGNER
from proxy.blobs.media_types import allowed_media_type, read_head
from proxy.blobs.urls import BLOB_ROUTE, BlobUrl
from proxy.context import CALLER
from proxy.errors import BlobStoreFailed
from proxy.http.proxy_headers import base_url
from proxy.observability.tracing.attributes import BLOB_STORED
from proxy.observability.tracing.hooks import add_event
from proxy.reload.snapshot import SNAPSHOT


async def publish(request: web.Request, chunks: AsyncIterator[bytes], media_type: str) -> str:
    """Store an image for the caller of a request; return its absolute signed URL.

    `media_type` is the declared type, or ""; the type that its first bytes show takes precedence.
    Raises `BlobStoreFailed` if the store fails or the type is not allowed. What `chunks` raises is
    passed on.
    """
    head, chunks = await read_head(chunks)
    stored_type = allowed_media_type(head, media_type)
    if not stored_type:
        raise BlobStoreFailed(
            "The provider's image has an unsupported format and cannot be stored. Supported: PNG, "
            "JPEG, WebP, GIF, SVG."
        )
    blob_url = _new_blob_url(request, stored_type)
    await request.app[BLOBS].put(blob_url.path, chunks, stored_type)
    add_event(BLOB_STORED)
    return _absolute_url(request, blob_url)


async def publish_existing(request: web.Request, path: str, media_type: str) -> str:
    """Return a signed URL for an image that is in the store already, with a lifetime of its own.

    The last part of `path` is the image's digest. Raises `BlobStoreFailed`.
    """
    blob_url = _new_blob_url(request, media_type, path.rpartition("/")[2])
    await request.app[BLOBS].link(path, blob_url.path)
    return _absolute_url(request, blob_url)


def _new_blob_url(request: web.Request, media_type: str, content: str = "") -> BlobUrl:
    # Counted from before the upload, so that the URL never outlives the blob.
    expires = int(time.time()) + request[SNAPSHOT].settings.blobs.lifetime_seconds
    return request.app[SIGNER].new_url(request[CALLER].name, media_type, expires, content)


def _absolute_url(request: web.Request, blob_url: BlobUrl) -> str:
    settings, signer = request[SNAPSHOT].settings, request.app[SIGNER]
    base = settings.server.public_url.rstrip("/") or base_url(
        request, settings.server.trusted_proxies
    )
    return f"{base}{BLOB_ROUTE.format(name=blob_url.name)}?{signer.query(blob_url)}"
