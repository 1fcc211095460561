"""Finished answers in the blob store, for whichever process their clients come back to."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from proxy.blobs.leftovers import PARKED
from proxy.blobs.store import Blobs
from proxy.jobs.recording import Tape

_KIND = "application/octet-stream"


class Answers:
    """The answers below one place of the store. Every method raises `BlobStoreFailed`."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def put(self, name: str, tape: Tape) -> None:
        """Store what is on a tape that has ended; raises `BrokenOffError` too."""
        async with aclosing(tape.pieces()) as pieces:
            await self._blobs.put(_place(name), pieces, _KIND)

    async def size(self, name: str) -> int | None:
        """Give an answer's size in bytes; None when it is not there."""
        return await self._blobs.head(_place(name))

    async def pieces(self, name: str, start: int, size: int) -> AsyncGenerator[bytes, None]:
        """Read an answer of so many bytes, from `start` on."""
        async for piece in self._blobs.get_range(_place(name), start, size):
            yield piece

    async def delete(self, name: str) -> None:
        """Give an answer up; one that is not there is no failure."""
        await self._blobs.delete(_place(name))


def _place(name: str) -> str:
    return f"{PARKED}/{name}"
