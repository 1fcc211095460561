"""Puts the pictures of one answer into the store: while they go to the client, or after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from adapters.contract import Image
from proxy.cache.images import Arrived, Pictures

Fetch = Callable[[Image], AsyncIterator[bytes]]
"""Gives the bytes of a picture, from memory or from its URL."""


class Filling:
    """One answer on its way into the cache. A slow store never holds the client up."""

    def __init__(self, pictures: Pictures, fetch: Fetch) -> None:
        self._pictures = pictures
        self._fetch = fetch
        self._passing: dict[int, asyncio.Task[Arrived]] = {}

    async def watch(
        self, image: Image, head: bytes, rest: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Store a picture that goes by; it is the caller who holds the `image` meanwhile."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        storing = asyncio.create_task(self._pictures.put(_queued(queue), image.media_type))
        self._passing[id(image)] = storing
        queue.put_nowait(head)
        whole = False
        try:
            async for piece in rest:
                if not storing.done():
                    queue.put_nowait(piece)
                yield piece
            whole = True
            queue.put_nowait(None)
        finally:
            if not whole:
                storing.cancel()

    async def stored(self, images: Sequence[Image]) -> list[Arrived]:
        """Store what has not been stored yet; all of the pictures, or none: then it raises."""
        arrived: list[Arrived] = []
        try:
            for image in images:
                passing = self._passing.pop(id(image), None)
                put = passing or self._pictures.put(self._fetch(image), image.media_type)
                arrived.append(await put)
        except BaseException:
            for it in arrived:
                await self._pictures.discard(it)
            raise
        finally:
            await self.drop()
        return arrived

    async def drop(self) -> None:
        """Give up what passed by and was not asked for."""
        passing = [*self._passing.values()]
        self._passing.clear()
        for task in passing:
            task.cancel()
        for came in await asyncio.gather(*passing, return_exceptions=True):
            if isinstance(came, Arrived):
                await self._pictures.discard(came)


async def _queued(queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while (piece := await queue.get()) is not None:
        yield piece
