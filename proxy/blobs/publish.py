"""Stores a picture and gives the URL by which the client gets it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from aiohttp import web

from proxy.blobs.media_types import allowed_media_type, with_head
from proxy.blobs.store import BLOBS
from proxy.blobs.urls import PATH, SIGNER, Link
from proxy.context import CALLER
from proxy.errors import BlobStoreFailed
from proxy.http.proxy_headers import base_url
from proxy.observability.tracing.attributes import BLOB_STORED
from proxy.observability.tracing.hooks import add_event
from proxy.reload.snapshot import SNAPSHOT


async def kept(request: web.Request, chunks: AsyncIterator[bytes], media_type: str) -> str:
    """Store a picture for the caller of a request; gives its signed URL, with scheme and host.

    `media_type` is what the picture is said to be, or ""; what its bytes say comes before it.
    Raises `BlobStoreFailed` when the store fails, or the picture is of no kind that is kept; what
    `chunks` raises passes through.
    """
    head, chunks = await with_head(chunks)
    found = allowed_media_type(head, media_type)
    if not found:
        raise BlobStoreFailed("The picture is of a kind that the gateway does not keep.")
    link = _link(request, found)
    await request.app[BLOBS].put(link.place, chunks, found)
    add_event(BLOB_STORED)
    return _url(request, link)


async def linked(request: web.Request, place: str, media_type: str) -> str:
    """Give a picture that is in the store a signed URL too, which lives and ends by itself.

    `place` has the digest of the picture as its last part. Raises `BlobStoreFailed`.
    """
    link = _link(request, media_type, place.rpartition("/")[2])
    await request.app[BLOBS].link(place, link.place)
    return _url(request, link)


def _link(request: web.Request, media_type: str, content: str = "") -> Link:
    # Counted from before the bytes come: the URL never outlives the blob.
    expires = int(time.time()) + request[SNAPSHOT].settings.blobs.lifetime_seconds
    return request.app[SIGNER].link(request[CALLER].name, media_type, expires, content)


def _url(request: web.Request, link: Link) -> str:
    settings, signer = request[SNAPSHOT].settings, request.app[SIGNER]
    base = settings.server.public_url.rstrip("/") or base_url(
        request, settings.server.trusted_proxies
    )
    return f"{base}{PATH.format(name=link.name)}?{signer.query(link)}"
