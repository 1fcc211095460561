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
from proxy.cache.entry import KeptImage, Picture
from proxy.errors import BlobStoreFailed

_DIGEST = re.compile("[0-9a-f]{64}")
_PIECE = 768 * 1024
"""Bytes that are read in one go: a multiple of 3, so that base64 has no seams."""


class NotKeptError(Exception):
    """What should have been a picture is none, or one too large to be kept."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A picture that has been stored, and lies where nobody looks for it yet."""

    place: str
    digest: str
    length: int
    measured: Measured


class Pictures:
    """Pictures of at most `limit` bytes each. All but `discard` may raise `BlobStoreFailed`.

    `shared` names the folder of those that other processes have too.
    """

    def __init__(self, blobs: Blobs, limit: int, shared: str = "") -> None:
        self.limit = limit
        self._blobs = blobs
        self._folder = f"{CACHE}/{shared}" if shared else blobs.cache_folder
        self._lent: Counter[str] = Counter()
        self._orphans: set[str] = set()

    async def put(self, chunks: AsyncIterator[bytes], declared: str = "") -> Arrived:
        """Store what comes, if it is a picture; raises `NotKeptError`, and what `chunks` does."""
        head, chunks = await with_head(chunks)
        media_type = allowed_media_type(head, declared)
        if not media_type:
            raise NotKeptError
        seen = _Seen(self.limit)
        place = f"{self._blobs.cache_folder}/new-{secrets.token_hex(16)}"
        await self._blobs.put(place, seen.passing(chunks), media_type)
        found = measured(bytes(seen.head))
        found = found if found.media_type else Measured(media_type)
        return Arrived(place, seen.digest.hexdigest(), seen.length, found)

    async def settle(self, arrived: Arrived) -> None:
        """Put a picture that was stored where it is looked for."""
        await self._blobs.move(arrived.place, self.place(arrived.digest))
        self._orphans.discard(arrived.digest)

    async def discard(self, arrived: Arrived) -> None:
        """Give up a picture that was stored and is not wanted, or is there already.

        What cannot be deleted ends with the process: no answer is to suffer for it.
        """
        with contextlib.suppress(BlobStoreFailed):  # The store has told the operator.
            await self._blobs.delete(arrived.place)

    async def delete(self, digests: Iterable[str]) -> None:
        """Give pictures up: at once, or when nobody reads them any more. All are tried."""
        failure: BlobStoreFailed | None = None
        for digest in digests:
            if self._lent[digest]:
                self._orphans.add(digest)
                continue
            try:
                await self._blobs.delete(self.place(digest))
            except BlobStoreFailed as error:
                failure = error
        if failure:
            raise failure

    async def are_there(self, pictures: Iterable[Picture]) -> bool:
        """Tell whether the store still has all of some pictures."""
        for it in pictures:
            if await self._blobs.head(self.place(it.digest)) != it.length:
                return False
        return True

    async def all(self) -> AsyncIterator[list[str]]:
        """Give the digests of all pictures that the store has, some at a time."""
        async for names in self._blobs.names(self._folder):
            yield [name for name in names if _DIGEST.fullmatch(name)]

    @contextlib.contextmanager
    def lent(self, pictures: Iterable[Picture], left: list[str]) -> Iterator[None]:
        """Keep pictures from being deleted meanwhile; `left` gets, in the end, what is to go."""
        digests = {it.digest for it in pictures}
        self._lent.update(digests)
        try:
            yield
        finally:
            self._lent.subtract(digests)
            self._lent += Counter()
            left += [it for it in digests & self._orphans if not self._lent[it]]
            self._orphans.difference_update(left)

    def image(self, picture: Picture, url: str = "") -> KeptImage:
        """Give a picture as one that an answer can be made of; `url` is the provider's, if good."""
        place = self.place(picture.digest)
        return KeptImage(
            url=url,
            extra=picture.extra,
            place=place,
            length=picture.length,
            measured=picture.measured,
            pieces=partial(self._blobs.get_range, place, 0, picture.length, _PIECE),
        )

    def place(self, digest: str) -> str:
        """Give where a picture lies in the store."""
        return f"{self._folder}/{digest}"


class _Seen:
    """What is noted of a picture while it goes by: its digest, its length, its beginning."""

    def __init__(self, limit: int) -> None:
        self.digest = hashlib.sha256()
        self.length = 0
        self.head = bytearray()
        self._limit = limit

    async def passing(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self.length += len(chunk)
            if self.length > self._limit:
                raise NotKeptError
            self.digest.update(chunk)
            if len(self.head) < HEAD:
                self.head += chunk[: HEAD - len(self.head)]
            yield chunk
