"""The blob store: a folder, or a bucket of an object store, behind one small interface.

The only module that uses the object store's library, which is imported on first use.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from proxy.blobs.retention import CACHE_PREFIX, RetentionSweeper, remove_cache_folder
from proxy.errors import BlobStoreFailed
from proxy.settings.loader import Settings
from proxy.settings.state_dir import ensure_private_dir

if TYPE_CHECKING:
    from obstore import AsyncWritableFile
    from obstore.store import ObjectStore

_LOG = logging.getLogger("easel")

_PART_BYTES = 5 * 1024 * 1024
"""Bytes of one part of an upload: the minimum that S3 accepts."""
_LOCAL_PART_BYTES = 256 * 1024
"""The same for a folder, which accepts parts of any size."""
_CONCURRENT_PARTS = 2
_LIST_BATCH = 100
_CHUNK_BYTES = 1024 * 1024
_MAX_RETRIES = 3
_RETRY_TIMEOUT = timedelta(seconds=20)
_LINGER_SECONDS = 0.05


def local_folder(settings: Settings) -> Path | None:
    """Return the folder of the blobs; None if they are in a bucket."""
    if "://" in settings.blobs.store:
        return None
    return Path(settings.blobs.store or Path(settings.state_dir, "blobs")).expanduser()


class BlobStore:
    """Blobs by path (`owner/name`); run as a context, in which a folder is swept.

    `shared_cache` is the name of the cache folder that several workers share, "" for none. Every
    method raises `BlobStoreFailed` if the store fails.
    """

    def __init__(self, settings: Settings, shared_cache: str = "") -> None:
        self._settings = settings.blobs
        self._sweeper: RetentionSweeper | None = None
        if folder := local_folder(settings):
            retention = settings.blobs.lifetime_seconds, settings.blobs.disk_bytes
            self._sweeper = RetentionSweeper(
                folder, *retention, result_ttl=settings.jobs.result_ttl_seconds
            )
        self._sweep_task: asyncio.Task[None] | None = None
        self._process_id = secrets.token_hex(8)
        self._shared_cache_folder = f"{CACHE_PREFIX}/{shared_cache}" if shared_cache else ""

    @property
    def cache_folder(self) -> str:
        """Folder for this process's cache, deleted when it ends; no URL leads there."""
        return f"{CACHE_PREFIX}/{self._process_id}"

    def clear_cache(self) -> None:
        """Delete this process's cache, unless it is in a bucket. Blocks."""
        if self._sweeper:
            remove_cache_folder(self._sweeper.folder / self.cache_folder)

    async def __aenter__(self) -> Self:
        if self._sweeper:
            self._sweep_task = asyncio.create_task(
                self._sweeper.run(self.cache_folder, self._shared_cache_folder)
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._sweep_task:
            self._sweep_task.cancel()
            await asyncio.wait([self._sweep_task])
        if "_store" in vars(self):  # It was used.
            # The library's threads call into Python once more after a result; if the interpreter
            # is gone by then, the process aborts (PyO3/pyo3-async-runtimes#40).
            await asyncio.sleep(_LINGER_SECONDS)

    async def put(self, path: str, chunks: AsyncIterator[bytes], media_type: str) -> None:
        """Store a blob from a stream of chunks. It becomes visible as a whole, or not at all.

        What `chunks` raises is passed on, and nothing is stored.
        """
        size = 0
        with _map_errors("store an image"):
            writer = self._open_writer(path, media_type)
        async for chunk in chunks:
            with _map_errors("store an image"):
                await writer.write(chunk)
            size += len(chunk)
        # Only this makes it visible: a writer that is not closed leaves no blob.
        with _map_errors("store an image"):
            await writer.close()
        if self._sweeper:
            self._sweeper.account(size)

    async def size(self, path: str) -> int | None:
        """Return a blob's size in bytes; None if there is none."""
        with _map_errors("find an image"):
            try:
                return (await self._store.head_async(path))["size"]
            except FileNotFoundError:
                return None

    async def get_range(
        self, path: str, start: int, end: int, chunk_size: int = _CHUNK_BYTES
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to before `end`, in chunks of `chunk_size`.

        Each chunk is requested when the one before was consumed: a slow reader holds no connection.
        """
        for offset in range(start, end, chunk_size):
            with _map_errors("read an image"):
                chunk = await self._store.get_range_async(
                    path, start=offset, end=min(offset + chunk_size, end)
                )
            yield bytes(chunk)

    async def link(self, path: str, new_path: str) -> None:
        """Make a blob available at a further path, as if it had just been stored there.

        In a folder that is a hard link, in a bucket a copy by the store.
        """
        with _map_errors("link an image"):
            if not await self._touch(new_path):
                await self._store.copy_async(path, new_path)
                await self._touch(new_path)

    async def _touch(self, path: str) -> bool:
        """Set a file's modification time to now, for retention; return whether it exists.

        Does nothing in a bucket.
        """
        if not self._sweeper:
            return False
        try:
            await asyncio.to_thread(os.utime, self._sweeper.folder / path)
        except FileNotFoundError:
            return False
        return True

    async def move(self, path: str, new_path: str) -> None:
        """Move a blob to another path, replacing what is there."""
        with _map_errors("move an image"):
            await self._store.rename_async(path, new_path)

    async def delete(self, path: str) -> None:
        """Delete a blob; one that does not exist is no error."""
        with _map_errors("delete an image"), contextlib.suppress(FileNotFoundError):
            await self._store.delete_async(path)

    async def list_names(self, folder: str) -> AsyncIterator[list[str]]:
        """Yield the names of all blobs in a folder, in batches."""
        with _map_errors("list images"):
            batches = aiter(self._store.list(folder, chunk_size=_LIST_BATCH))
        while True:
            with _map_errors("list images"):
                batch = await anext(batches, None)
            if batch is None:
                return
            yield [it["path"].rpartition("/")[2] for it in batch]

    def _open_writer(self, path: str, media_type: str) -> AsyncWritableFile:
        from obstore import open_writer_async  # noqa: PLC0415 - see the module

        return open_writer_async(
            self._store,
            path,
            # A folder cannot store attributes; the type is in the name as well.
            attributes=None if self._sweeper else {"Content-Type": media_type},
            buffer_size=_LOCAL_PART_BYTES if self._sweeper else _PART_BYTES,
            max_concurrency=_CONCURRENT_PARTS,
        )

    @cached_property
    def _store(self) -> ObjectStore:
        from obstore.store import LocalStore, from_url  # noqa: PLC0415 - see the module

        if self._sweeper:
            ensure_private_dir(self._sweeper.folder)
            return LocalStore(self._sweeper.folder)
        options: dict[str, Any] = {}
        endpoint = self._settings.s3_endpoint
        if endpoint and self._settings.store.startswith("s3:"):
            options = {"endpoint": endpoint}
        return from_url(
            self._settings.store,
            # Unencrypted only if the operator configured it.
            client_options={"allow_http": endpoint.startswith("http:")},
            retry_config={"max_retries": _MAX_RETRIES, "retry_timeout": _RETRY_TIMEOUT},
            **options,
        )


@contextlib.contextmanager
def _map_errors(action: str) -> Iterator[None]:
    """Map the library's exceptions to `BlobStoreFailed`; log the reason for the operator only."""
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - see the module
    except ImportError as error:
        _LOG.error("the blob store needs the package obstore: pip install obstore")  # noqa: TRY400 - no traceback needed
        raise BlobStoreFailed(
            "The blob store is not available; see the gateway's log for the reason."
        ) from error
    try:
        yield
    except (BaseError, OSError, ValueError, NotImplementedError) as error:
        # The first line only: after it, and in <>, the library quotes the store's reply.
        reason = re.split(r"[\n<]", str(error), maxsplit=1)[0]
        _LOG.error("could not %s: %s: %s", action, type(error).__name__, reason)  # noqa: TRY400 - the same
        raise BlobStoreFailed(
            f"The blob store could not {action}; see the gateway's log for the reason."
        ) from None
