"""Stores a picture and gives the URL by which the client gets it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from aiohttp import web

from proxy.blobs.media import media_type_of, with_head
from proxy.blobs.signing import PATH
from proxy.errors import BlobStoreFailed
from proxy.keys import BLOBS, CALLER, SETTINGS, SIGNER


async def kept(request: web.Request, chunks: AsyncIterator[bytes], media_type: str) -> str:
    """Store a picture for the caller of a request; gives its signed URL, with scheme and host.

    `media_type` is what the picture is said to be, or ""; what its bytes say comes before it.
    Raises `BlobStoreFailed` when the store fails, or the picture is of no kind that is kept; what
    `chunks` raises passes through.
    """
    settings = request.app[SETTINGS]
    head, chunks = await with_head(chunks)
    found = media_type_of(head, media_type)
    if not found:
        raise BlobStoreFailed("The picture is of a kind that the gateway does not keep.")
    # Counted from before the bytes come: the URL never outlives the blob.
    expires = int(time.time()) + settings.blobs.lifetime_seconds
    signer = request.app[SIGNER]
    link = signer.link(request[CALLER].name, found, expires)
    await request.app[BLOBS].put(link.place, chunks, found)
    base = settings.server.public_url.rstrip("/") or f"{request.scheme}://{request.host}"
    return f"{base}{PATH.format(name=link.name)}?{signer.query(link)}"
