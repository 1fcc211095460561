"""Weight and eviction value of entries."""

from __future__ import annotations

from adapters.table.receipt import ReceiptLine
from adapters.tools.image_header import ImageHeader
from proxy.cache.entry import CachedImage, CacheEntry, ImageRecord


def image(length: int, **about: str) -> ImageRecord:
    return ImageRecord("0" * 64, length, ImageHeader("image/png"), about)


def test_the_eviction_value_grows_with_the_cost_per_byte() -> None:
    small, large = CacheEntry((image(1000),), 0), CacheEntry((image(2000),), 0)
    slow = CacheEntry((image(1000),), 0, seconds=100)
    dear = CacheEntry((image(1000),), 0, dollars=1)
    assert large.eviction_value < small.eviction_value < slow.eviction_value < dear.eviction_value


def test_image_metadata_adds_to_the_weight() -> None:
    bare = CacheEntry((image(1000),), 0)
    told = CacheEntry(
        (image(1000, revised_prompt="p" * 1000),), 0, receipt=(ReceiptLine("dropped", "a"),)
    )
    assert bare.weight < told.weight - 1000
    assert bare.weight < CacheEntry((image(1), image(1)), 0).weight


async def test_an_image_without_a_source_has_no_chunks() -> None:
    assert [piece async for piece in CachedImage().read()] == []
