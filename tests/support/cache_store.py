"""A response cache with its images in a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.blobs.store import BlobStore
from proxy.cache.entry import CacheEntry, ImageRecord
from proxy.cache.images import StoredImage
from proxy.cache.index import Index
from proxy.cache.store import ResponseCache
from proxy.settings.loader import parse
from proxy.settings.schema import Cache
from tests.support.gateway import PNG

MB = 1024 * 1024


async def chunks(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    """Yield data in chunks, as a provider sends it."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


@dataclass
class CacheFixture:
    """A cache and the folder of its images."""

    cache: ResponseCache
    folder: Path

    @property
    def names(self) -> set[str]:
        """The names of all files, in all subfolders."""
        return {path.name for path in self.folder.rglob("*") if path.is_file()}

    async def upload(self, data: bytes = PNG) -> StoredImage:
        """Upload an image."""
        return await self.cache.images.upload(chunks(data))

    async def store(self, key: bytes, *images: bytes, caller: str = "") -> CacheEntry:
        """Store an entry with images."""
        arrived = [await self.upload(data) for data in images]
        told = tuple(ImageRecord(it.digest, it.length, it.header) for it in arrived)
        entry = CacheEntry(told, self.cache.clock() + 100, caller)
        await self.cache.put(key, entry, arrived)
        return entry


@asynccontextmanager
async def running_cache(
    tmp_path: Path,
    settings: Cache | None = None,
    store: str = "",
    index: Index | None = None,
    shared: str = "",
) -> AsyncIterator[CacheFixture]:
    """Run a cache with its images in a folder, or in the blob store of the settings `store`."""
    parsed = parse(store or f"state_dir: {tmp_path}", environ={})
    async with (
        BlobStore(parsed) as blobs,
        ResponseCache(settings or Cache(), blobs, index, shared_folder=shared) as cache,
    ):
        yield CacheFixture(cache, tmp_path / "blobs")
