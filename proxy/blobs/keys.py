"""The application keys of the blob store and its URL signer.

They are apart from both, so that the supervisor of workers can use these without an HTTP server.
"""

from __future__ import annotations

from aiohttp import web

from proxy.blobs.store import BlobStore
from proxy.blobs.urls import Signer

BLOBS: web.AppKey[BlobStore] = web.AppKey("blobs")
"""The blob store."""
SIGNER: web.AppKey[Signer] = web.AppKey("signer")
"""Signs and verifies blob URLs."""
