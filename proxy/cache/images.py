"""The cache's pictures in the blob store: decoded bytes, each once, under the digest of its bytes.

    cache/{process}/new-{chance}                one that is being stored
    cache/{process}/{SHA-256 of the bytes}      a picture
    cache/{shared}/{SHA-256 of the bytes}       a picture, where the index has several processes

`process` is 64 bits of chance: two gateways on one store never meet but where they are meant to.
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

from adapters.tools.image_header import HEAD, Measured, measured
from proxy.blobs.media_types import allowed_media_type, with_head
from proxy.blobs.retention import CACHE
from proxy.blobs.store import Blobs
from proxy.cache.entry import CachedImage, ImageRecord
from proxy.errors import BlobStoreFailed

_DIGEST = re.compile("[0-9a-f]{64}")
_CHUNK = 768 * 1024
"""Bytes that are read in one go: a multiple of 3, so that base64 has no seams."""


class NotCacheableError(Exception):
    """What should have been a picture is none, or one too large to be kept."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A picture that has been stored, and lies where nobody looks for it yet."""

    path: str
    digest: str
    length: int
    measured: Measured


class ImageStore:
    """Pictures of at most `limit` bytes each. All but `discard` may raise `BlobStoreFailed`.

    `shared` names the folder of those that other processes have too.
    """

    def __init__(self, blobs: Blobs, max_image_bytes: int, shared_folder: str = "") -> None:
        self.max_image_bytes = max_image_bytes
        self._blobs = blobs
        self._folder = f"{CACHE}/{shared_folder}" if shared_folder else blobs.cache_folder
        self._pins: Counter[str] = Counter()
        self._delete_on_unpin: set[str] = set()

    async def upload(self, chunks: AsyncIterator[bytes], declared: str = "") -> StoredImage:
        """Store what comes, if it is a picture; raises `NotKeptError`, and what `chunks` does."""
        head, chunks = await with_head(chunks)
        media_type = allowed_media_type(head, declared)
        if not media_type:
            raise NotCacheableError
        inspector = _Inspector(self.max_image_bytes)
        path = f"{self._blobs.cache_folder}/new-{secrets.token_hex(16)}"
        await self._blobs.put(path, inspector.inspect(chunks), media_type)
        info = measured(bytes(inspector.head))
        info = info if info.media_type else Measured(media_type)
        return StoredImage(path, inspector.digest.hexdigest(), inspector.length, info)

    async def commit(self, stored: StoredImage) -> None:
        """Put a picture that was stored where it is looked for."""
        await self._blobs.move(stored.path, self.path(stored.digest))
        self._delete_on_unpin.discard(stored.digest)

    async def discard(self, stored: StoredImage) -> None:
        """Give up a picture that was stored and is not wanted, or is there already.

        What cannot be deleted ends with the process: no answer is to suffer for it.
        """
        with contextlib.suppress(BlobStoreFailed):  # The store has told the operator.
            await self._blobs.delete(stored.path)

    async def delete(self, digests: Iterable[str]) -> None:
        """Give pictures up: at once, or when nobody reads them any more. All are tried."""
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
        """Tell whether the store still has all of some pictures."""
        for it in images:
            if await self._blobs.head(self.path(it.digest)) != it.length:
                return False
        return True

    async def list_digests(self) -> AsyncIterator[list[str]]:
        """Give the digests of all pictures that the store has, some at a time."""
        async for names in self._blobs.names(self._folder):
            yield [name for name in names if _DIGEST.fullmatch(name)]

    @contextlib.contextmanager
    def pinned(self, images: Iterable[ImageRecord], unpinned: list[str]) -> Iterator[None]:
        """Keep pictures from being deleted meanwhile; `left` gets, in the end, what is to go."""
        digests = {it.digest for it in images}
        self._pins.update(digests)
        try:
            yield
        finally:
            self._pins.subtract(digests)
            self._pins += Counter()
            unpinned += [it for it in digests & self._delete_on_unpin if not self._pins[it]]
            self._delete_on_unpin.difference_update(unpinned)

    def cached_image(self, record: ImageRecord, url: str = "") -> CachedImage:
        """Give a picture as one that an answer can be made of; `url` is the provider's, if good."""
        path = self.path(record.digest)
        return CachedImage(
            url=url,
            extra=record.extra,
            path=path,
            length=record.length,
            measured=record.measured,
            read=partial(self._blobs.get_range, path, 0, record.length, _CHUNK),
        )

    def path(self, digest: str) -> str:
        """Give where a picture lies in the store."""
        return f"{self._folder}/{digest}"


class _Inspector:
    """What is noted of a picture while it goes by: its digest, its length, its beginning."""

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
            if len(self.head) < HEAD:
                self.head += chunk[: HEAD - len(self.head)]
            yield chunk
