"""Stores a picture and gives the URL by which the client gets it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from aiohttp import web

from proxy.blobs.media_types import allowed_media_type, read_head
from proxy.blobs.store import BLOBS
from proxy.blobs.urls import BLOB_ROUTE, SIGNER, BlobUrl
from proxy.context import CALLER
from proxy.errors import BlobStoreFailed
from proxy.http.proxy_headers import base_url
from proxy.observability.tracing.attributes import BLOB_STORED
from proxy.observability.tracing.hooks import add_event
from proxy.reload.snapshot import SNAPSHOT


async def publish(request: web.Request, chunks: AsyncIterator[bytes], media_type: str) -> str:
    """Store a picture for the caller of a request; gives its signed URL, with scheme and host.

    `media_type` is what the picture is said to be, or ""; what its bytes say comes before it.
    Raises `BlobStoreFailed` when the store fails, or the picture is of no kind that is kept; what
    `chunks` raises passes through.
    """
    head, chunks = await read_head(chunks)
    stored_type = allowed_media_type(head, media_type)
    if not stored_type:
        raise BlobStoreFailed("The picture is of a kind that the gateway does not keep.")
    blob_url = _new_blob_url(request, stored_type)
    await request.app[BLOBS].put(blob_url.path, chunks, stored_type)
    add_event(BLOB_STORED)
    return _absolute_url(request, blob_url)


async def publish_existing(request: web.Request, path: str, media_type: str) -> str:
    """Give a picture that is in the store a signed URL too, which lives and ends by itself.

    `place` has the digest of the picture as its last part. Raises `BlobStoreFailed`.
    """
    blob_url = _new_blob_url(request, media_type, path.rpartition("/")[2])
    await request.app[BLOBS].link(path, blob_url.path)
    return _absolute_url(request, blob_url)


def _new_blob_url(request: web.Request, media_type: str, content: str = "") -> BlobUrl:
    # Counted from before the bytes come: the URL never outlives the blob.
    expires = int(time.time()) + request[SNAPSHOT].settings.blobs.lifetime_seconds
    return request.app[SIGNER].new_url(request[CALLER].name, media_type, expires, content)


def _absolute_url(request: web.Request, blob_url: BlobUrl) -> str:
    settings, signer = request[SNAPSHOT].settings, request.app[SIGNER]
    base = settings.server.public_url.rstrip("/") or base_url(
        request, settings.server.trusted_proxies
    )
    return f"{base}{BLOB_ROUTE.format(name=blob_url.name)}?{signer.query(blob_url)}"
