"""Where picture bytes lie: a folder, or a bucket of an object store, behind one small interface.

The only module that talks to the object store's library, which is imported with the first picture.
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

from aiohttp import web

from proxy.blobs.retention import CACHE, Sweeper, clear
from proxy.errors import BlobStoreFailed
from proxy.settings.loader import Settings
from proxy.settings.state_dir import ensure_private_dir

if TYPE_CHECKING:
    from obstore import AsyncWritableFile
    from obstore.store import ObjectStore

_LOG = logging.getLogger("easel")

_PART = 5 * 1024 * 1024
"""What is held of a picture before it goes out: the least that S3 takes as part of an upload."""
_LOCAL_PART = 256 * 1024
"""The same for a folder, which takes parts of any size."""
_PARTS_AT_ONCE = 2
_LISTED = 100
_PIECE = 1024 * 1024
_RETRIES = 3
_RETRY_FOR = timedelta(seconds=20)
_LINGER_SECONDS = 0.05


def folder_of(settings: Settings) -> Path | None:
    """Give the folder of the blobs, None where they lie in a bucket."""
    if "://" in settings.blobs.store:
        return None
    return Path(settings.blobs.store or Path(settings.state_dir, "blobs")).expanduser()


class Blobs:
    """Pictures by their place, `owner/name`; run as a context, in which a folder is kept tidy.

    `common` is the name of the folder of the cache that several workers have, if they do. Every
    method raises `BlobStoreFailed` when the store does not do its part.
    """

    def __init__(self, settings: Settings, common: str = "") -> None:
        self._settings = settings.blobs
        self._sweeper: Sweeper | None = None
        if folder := folder_of(settings):
            limits = settings.blobs.lifetime_seconds, settings.blobs.disk_bytes
            self._sweeper = Sweeper(folder, *limits, parked=settings.jobs.park_seconds)
        self._sweeping: asyncio.Task[None] | None = None
        self._process = secrets.token_hex(8)
        self._common = f"{CACHE}/{common}" if common else ""

    @property
    def cache_folder(self) -> str:
        """Where this process may keep what nobody needs once it has ended: no URL leads there."""
        return f"{CACHE}/{self._process}"

    def clear_cache(self) -> None:
        """Delete all that this process kept there, if it is a folder. It blocks."""
        if self._sweeper:
            clear(self._sweeper.folder / self.cache_folder)

    async def __aenter__(self) -> Self:
        if self._sweeper:
            self._sweeping = asyncio.create_task(self._sweeper.run(self.cache_folder, self._common))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._sweeping:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        if "_store" in vars(self):  # It was used.
            # The library's threads touch Python once more after an answer of theirs; if the
            # interpreter is gone by then, the process aborts (PyO3/pyo3-async-runtimes#40).
            await asyncio.sleep(_LINGER_SECONDS)

    async def put(self, place: str, chunks: AsyncIterator[bytes], media_type: str) -> None:
        """Store a picture as its bytes come. It is there whole, or not at all.

        What `chunks` raises is raised as it is; so far, nothing of the picture can be seen.
        """
        size = 0
        with _translated("store a picture"):
            writer = self._writer(place, media_type)
        async for chunk in chunks:
            with _translated("store a picture"):
                await writer.write(chunk)
            size += len(chunk)
        # Only this makes it visible: a writer that is let go of leaves no picture.
        with _translated("store a picture"):
            await writer.close()
        if self._sweeper:
            self._sweeper.added(size)

    async def head(self, place: str) -> int | None:
        """Give a picture's size in bytes; None when it is not there."""
        with _translated("find a picture"):
            try:
                return (await self._store.head_async(place))["size"]
            except FileNotFoundError:
                return None

    async def get_range(
        self, place: str, start: int, end: int, size: int = _PIECE
    ) -> AsyncIterator[bytes]:
        """Give the bytes from `start` to before `end`, in pieces of a size.

        Each piece is asked for once the one before has gone: a slow reader holds no connection.
        """
        for at in range(start, end, size):
            with _translated("read a picture"):
                piece = await self._store.get_range_async(place, start=at, end=min(at + size, end))
            yield bytes(piece)

    async def link(self, place: str, other: str) -> None:
        """Give a picture a further place, as if it had just been stored there; no byte is copied.

        In a folder that is a hard link, in a bucket the store's own copy.
        """
        with _translated("link a picture"):
            if not await self._touched(other):
                await self._store.copy_async(place, other)
                await self._touched(other)

    async def _touched(self, place: str) -> bool:
        """Make a file as young as if it were new, for the sweeper; tells whether it is there.

        What is in a bucket grows no younger.
        """
        if not self._sweeper:
            return False
        try:
            await asyncio.to_thread(os.utime, self._sweeper.folder / place)
        except FileNotFoundError:
            return False
        return True

    async def move(self, place: str, other: str) -> None:
        """Put a picture elsewhere, over what may lie there."""
        with _translated("move a picture"):
            await self._store.rename_async(place, other)

    async def delete(self, place: str) -> None:
        """Give a picture up; one that is not there is no failure."""
        with _translated("delete a picture"), contextlib.suppress(FileNotFoundError):
            await self._store.delete_async(place)

    async def names(self, folder: str) -> AsyncIterator[list[str]]:
        """Give the names of all that lies in a folder, some at a time."""
        with _translated("list pictures"):
            found = aiter(self._store.list(folder, chunk_size=_LISTED))
        while True:
            with _translated("list pictures"):
                some = await anext(found, None)
            if some is None:
                return
            yield [it["path"].rpartition("/")[2] for it in some]

    def _writer(self, place: str, media_type: str) -> AsyncWritableFile:
        from obstore import open_writer_async  # noqa: PLC0415 - see the module

        return open_writer_async(
            self._store,
            place,
            # A folder cannot keep attributes; the type is in the name as well.
            attributes=None if self._sweeper else {"Content-Type": media_type},
            buffer_size=_LOCAL_PART if self._sweeper else _PART,
            max_concurrency=_PARTS_AT_ONCE,
        )

    @cached_property
    def _store(self) -> ObjectStore:
        from obstore.store import LocalStore, from_url  # noqa: PLC0415 - see the module

        if self._sweeper:
            ensure_private_dir(self._sweeper.folder)
            return LocalStore(self._sweeper.folder)
        more: dict[str, Any] = {}
        endpoint = self._settings.s3_endpoint
        if endpoint and self._settings.store.startswith("s3:"):
            more = {"endpoint": endpoint}
        return from_url(
            self._settings.store,
            # Unencrypted only where the operator wrote so.
            client_options={"allow_http": endpoint.startswith("http:")},
            retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR},
            **more,
        )


BLOBS: web.AppKey[Blobs] = web.AppKey("blobs")
"""The blob store."""


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn the store's failures into ours; the reason is for the operator's log only."""
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - see the module
    except ImportError as error:
        _LOG.error("The blob store needs the package obstore: pip install obstore")  # noqa: TRY400 - no traceback needed
        raise BlobStoreFailed(
            "The blob store cannot be used; the gateway's log says why."
        ) from error
    try:
        yield
    except (BaseError, OSError, ValueError, NotImplementedError) as error:
        # The first line: below it and in <> the library quotes what the store answered.
        reason = re.split(r"[\n<]", str(error), maxsplit=1)[0]
        _LOG.error("could not %s: %s: %s", doing, type(error).__name__, reason)  # noqa: TRY400 - the same
        raise BlobStoreFailed(
            f"The blob store could not {doing}; the gateway's log says why."
        ) from None
