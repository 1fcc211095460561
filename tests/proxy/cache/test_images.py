"""Storage of cached images under their digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from adapters.tools.image_header import ImageHeader
from proxy.cache.entry import ImageRecord
from proxy.cache.images import NotCacheableError
from proxy.settings.schema import Cache
from tests.support.blobs import IMAGES, SVG
from tests.support.cache_store import MB, chunks, running_cache
from tests.support.gateway import PNG

LARGE = PNG + bytes(range(256)) * 10_000


@pytest.mark.parametrize("data", [*IMAGES.values(), LARGE])
async def test_an_image_is_returned_unchanged(tmp_path: Path, data: bytes) -> None:
    async with running_cache(tmp_path) as ours:
        entry = await ours.store(b"k", data)
        [digest] = ours.names
        assert digest == hashlib.sha256(data).hexdigest() == entry.images[0].digest
        image = ours.cache.images.cached_image(entry.images[0], "https://a.test")
        assert b"".join([piece async for piece in image.read()]) == data
        assert (image.length, image.url) == (len(data), "https://a.test")
        assert image.header == entry.images[0].header


async def test_the_header_is_parsed_and_svg_recognised_by_the_declared_type(
    tmp_path: Path,
) -> None:
    async with running_cache(tmp_path) as ours:
        assert (await ours.upload(PNG)).header == ImageHeader("image/png", 1, 1)
        put = ours.cache.images.upload
        odd = b"<!--" + b"x" * 5000 + b"-->" + SVG
        assert (await put(chunks(odd), "image/svg+xml")).header.media_type == "image/svg+xml"


@pytest.mark.parametrize("data", [b"", b"text", b"<html><svg>", PNG + bytes(MB)])
async def test_a_non_image_or_a_large_image_leaves_no_file(tmp_path: Path, data: bytes) -> None:
    async with running_cache(tmp_path, Cache(answer_bytes=MB)) as ours:
        with pytest.raises(NotCacheableError):
            await ours.upload(data)
        assert ours.names == set()


async def test_a_discarded_image_is_deleted(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        await ours.cache.images.discard(await ours.upload())
        assert ours.names == set()


async def test_a_pinned_image_is_deleted_when_the_last_reader_is_done(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        kept = (await ours.store(b"k", PNG)).images
        images = ours.cache.images
        first, second = list[str](), list[str]()
        with images.pinned(kept, first):
            with images.pinned(kept, second):
                await images.delete([kept[0].digest])
                assert ours.names == {kept[0].digest}
            assert second == []
        assert first == [kept[0].digest]
        await images.delete(first)
        assert ours.names == set()


async def test_list_digests_yields_images_and_nothing_else(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        kept = await ours.store(b"k", PNG)
        await ours.upload(LARGE)
        found = [name async for some in ours.cache.images.list_digests() for name in some]
        assert found == [kept.images[0].digest]


async def test_a_missing_image_is_noticed(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        entry = await ours.store(b"k", PNG)
        assert await ours.cache.images.all_exist(entry.images)
        lost = ImageRecord("0" * 64, 1, ImageHeader(""))
        assert not await ours.cache.images.all_exist([*entry.images, lost])
