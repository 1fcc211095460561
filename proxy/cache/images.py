"""Cached images in the blob store. Each image is stored once, under the digest of its bytes.

    cache/{process}/new-{random}                an upload in progress
    cache/{process}/{SHA-256 of the bytes}      an image
    cache/{shared}/{SHA-256 of the bytes}       an image of an index that several processes share

`process` is 64 random bits, so gateways on one store do not interfere unless they share an index.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from adapters.tools.image_header import HEADER_BYTES, ImageHeader, read_image_header
from proxy.blobs.media_types import allowed_media_type, read_head
from proxy.blobs.retention import CACHE_PREFIX
from proxy.blobs.store import BlobStore
from proxy.cache.entry import CachedImage, ImageRecord
from proxy.errors import BlobStoreFailed

_DIGEST = re.compile("[0-9a-f]{64}")
_CHUNK = 768 * 1024
"""Bytes per read: a multiple of 3, so that chunks can be base64-encoded one by one."""


class NotCacheableError(Exception):
    """The data is not an image, or is larger than the cache accepts."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An uploaded image under a temporary path, before `commit` or `discard`."""

    path: str
    digest: str
    length: int
    header: ImageHeader


class ImageStore:
    """Images of at most `max_image_bytes` each.

    Every method but `discard` may raise `BlobStoreFailed`.
    `shared_folder` names the folder of images shared with other processes, "" for none.
    """

    def __init__(self, blobs: BlobStore, max_image_bytes: int, shared_folder: str = "") -> None:
        self.max_image_bytes = max_image_bytes
        self._blobs = blobs
        self._folder = f"{CACHE_PREFIX}/{shared_folder}" if shared_folder else blobs.cache_folder
        self._pins: Counter[str] = Counter()
        self._delete_on_unpin: set[str] = set()

    async def upload(self, chunks: AsyncIterator[bytes], declared: str = "") -> StoredImage:
        """Upload an image; raise `NotCacheableError`, or what reading `chunks` raises.

        `declared` is the media type that the provider declared.
        """
        head, chunks = await read_head(chunks)
        media_type = allowed_media_type(head, declared)
        if not media_type:
            raise NotCacheableError
        inspector = _Inspector(self.max_image_bytes)
        path = f"{self._blobs.cache_folder}/new-{secrets.token_hex(16)}"
        await self._blobs.put(path, inspector.inspect(chunks), media_type)
        info = read_image_header(bytes(inspector.head))
        info = info if info.media_type else ImageHeader(media_type)
        return StoredImage(path, inspector.digest.hexdigest(), inspector.length, info)

    async def commit(self, stored: StoredImage) -> None:
        """Move an uploaded image to its final path."""
        await self._blobs.move(stored.path, self.path(stored.digest))
        self._delete_on_unpin.discard(stored.digest)

    async def discard(self, stored: StoredImage) -> None:
        """Delete an uploaded image that is not needed, or already stored.

        A failure is ignored: the response must not depend on it, and the folder of uploads is
        deleted when the process ends.
        """
        with contextlib.suppress(BlobStoreFailed):  # The store has logged it.
            await self._blobs.delete(stored.path)

    async def delete(self, digests: Iterable[str]) -> None:
        """Delete images; a pinned one is deleted when it is unpinned.

        All are tried before the last error is raised.
        """
        failure: BlobStoreFailed | None = None
        for digest in digests:
            if self._pins[digest]:
                self._delete_on_unpin.add(digest)
                continue
            try:
                await self._blobs.delete(self.path(digest))
            except BlobStoreFailed as error:
                failure = error
        if failure:
            raise failure

    async def all_exist(self, images: Iterable[ImageRecord]) -> bool:
        """Whether the blob store still has all of these images, with the expected length."""
        for image in images:
            if await self._blobs.size(self.path(image.digest)) != image.length:
                return False
        return True

    async def list_digests(self) -> AsyncIterator[list[str]]:
        """Yield the digests of all stored images, in batches."""
        async for names in self._blobs.list_names(self._folder):
            yield [name for name in names if _DIGEST.fullmatch(name)]

    @contextlib.contextmanager
    def pinned(self, images: Iterable[ImageRecord], unpinned: list[str]) -> Iterator[None]:
        """Protect images from deletion inside the context.

        On exit, digests whose deletion was requested in the meantime are appended to `unpinned`:
        the caller must delete them.
        """
        digests = {image.digest for image in images}
        self._pins.update(digests)
        try:
            yield
        finally:
            self._pins.subtract(digests)
            self._pins += Counter()
            unpinned += [
                digest for digest in digests & self._delete_on_unpin if not self._pins[digest]
            ]
            self._delete_on_unpin.difference_update(unpinned)

    def cached_image(self, record: ImageRecord, url: str = "") -> CachedImage:
        """Return an image as part of a response. `url` is the provider's URL while it is valid."""
        path = self.path(record.digest)
        return CachedImage(
            url=url,
            extra=record.extra,
            path=path,
            length=record.length,
            header=record.header,
            read=partial(self._blobs.get_range, path, 0, record.length, _CHUNK),
        )

    def path(self, digest: str) -> str:
        """Return the path of an image in the blob store."""
        return f"{self._folder}/{digest}"


class _Inspector:
    """Computes the digest and length of an image as it is uploaded, and keeps its first bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.digest = hashlib.sha256()
        self.length = 0
        self.head = bytearray()
        self._max_bytes = max_bytes

    async def inspect(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self.length += len(chunk)
            if self.length > self._max_bytes:
                raise NotCacheableError
            self.digest.update(chunk)
            if len(self.head) < HEADER_BYTES:
                self.head += chunk[: HEADER_BYTES - len(self.head)]
            yield chunk
