"""Pictures find their way into the store while they pass, or after it; all of them, or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.contract import Image
from proxy.cache.fill import Filling
from proxy.cache.images import NotKeptError
from tests.support.cache_store import Shelves, pieces, shelves
from tests.support.gateway import PNG

FIRST, SECOND = Image(url="https://a.test/1"), Image(data=PNG + b"2")


def filling(ours: Shelves) -> Filling:
    return Filling(ours.cache.pictures, lambda image: pieces(image.data))


async def passed(ours: Filling, image: Image, data: bytes) -> bytes:
    """Let a picture pass."""
    return b"".join([piece async for piece in ours.watch(image, data[:10], pieces(data[10:]))])


async def test_what_passes_goes_on_as_it_was_and_is_stored(tmp_path: Path) -> None:
    data = PNG + bytes(300_000)
    async with shelves(tmp_path) as ours:
        filler = filling(ours)
        assert await passed(filler, FIRST, data) == data[10:]
        first, second = await filler.stored([FIRST, SECOND])
        assert (first.length, second.length) == (len(data), len(PNG) + 1)
        assert len(ours.names) == 2


async def test_if_one_is_no_picture_none_is_stored(tmp_path: Path) -> None:
    async with shelves(tmp_path) as ours:
        filler = filling(ours)
        await passed(filler, FIRST, PNG)
        with pytest.raises(NotKeptError):
            await filler.stored([FIRST, SECOND, Image(data=b"text")])
        assert ours.names == set()


async def test_what_passed_and_is_not_wanted_goes(tmp_path: Path) -> None:
    async with shelves(tmp_path) as ours:
        filler = filling(ours)
        await passed(filler, FIRST, PNG)
        await asyncio.sleep(0.1)
        await filler.drop()
        assert ours.names == set()


async def test_what_breaks_off_is_not_stored(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(1000)
        raise ConnectionResetError

    async with shelves(tmp_path) as ours:
        filler = filling(ours)
        with pytest.raises(ConnectionResetError):
            async for _ in filler.watch(FIRST, PNG, broken()):
                pass
        await filler.drop()
        assert ours.names == set()


async def test_a_store_that_stands_still_holds_nobody_up(tmp_path: Path) -> None:
    async with shelves(tmp_path) as ours:
        still = asyncio.Event()

        async def put(*_: object) -> None:
            await still.wait()

        ours.cache.pictures.put = put  # type: ignore[method-assign, assignment]  # stands still
        filler = filling(ours)
        assert await passed(filler, FIRST, PNG) == PNG[10:]
        await filler.drop()
