"""Filling the cache: images are stored during or after delivery, all of them or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters import get_adapter
from adapters.contract import Answer, Credentials, Image, ImageCall
from adapters.table.receipt import Receipt, ReceiptLine
from adapters.tools.image_header import ImageHeader
from proxy.cache.entry import DEFAULT_DOLLARS_PER_IMAGE, CacheEntry, ImageRecord
from proxy.cache.fill import EVENT_STREAM, CacheFill, EntryBuilder, parse_recorded
from proxy.cache.images import NotCacheableError, StoredImage
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Plan, Target
from proxy.settings.policies import CachePolicy
from proxy.settings.prices import Prices
from proxy.settings.prices import load_prices as read_prices
from tests.support.cache_store import CacheFixture, chunks, running_cache
from tests.support.gateway import B64, PNG

FIRST, SECOND = Image(url="https://a.test/1"), Image(data=PNG + b"2")


def filling(ours: CacheFixture) -> CacheFill:
    return CacheFill(ours.cache.images, lambda image: chunks(image.data))


async def passed(ours: CacheFill, image: Image, data: bytes) -> bytes:
    """Read an image through a tee."""
    return b"".join([piece async for piece in ours.tee(image, data[:10], chunks(data[10:]))])


async def test_a_tee_yields_the_same_bytes_and_stores_them(tmp_path: Path) -> None:
    data = PNG + bytes(300_000)
    async with running_cache(tmp_path) as ours:
        filler = filling(ours)
        assert await passed(filler, FIRST, data) == data[10:]
        first, second = await filler.finish([FIRST, SECOND])
        assert (first.length, second.length) == (len(data), len(PNG) + 1)
        assert len(ours.names) == 2


async def test_if_one_is_no_image_none_is_stored(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        filler = filling(ours)
        await passed(filler, FIRST, PNG)
        with pytest.raises(NotCacheableError):
            await filler.finish([FIRST, SECOND, Image(data=b"text")])
        assert ours.names == set()


async def test_abort_deletes_what_a_tee_stored(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        filler = filling(ours)
        await passed(filler, FIRST, PNG)
        await asyncio.sleep(0.05)
        await filler.abort()
        assert ours.names == set()


async def test_an_interrupted_image_is_not_stored(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(1000)
        raise ConnectionResetError

    async with running_cache(tmp_path) as ours:
        filler = filling(ours)
        with pytest.raises(ConnectionResetError):
            async for _ in filler.tee(FIRST, PNG, broken()):
                pass
        await filler.abort()
        assert ours.names == set()


async def test_a_stalled_store_does_not_delay_the_client(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        still = asyncio.Event()

        async def put(*_: object) -> None:
            await still.wait()

        ours.cache.images.upload = put  # type: ignore[method-assign, assignment]  # stands still
        filler = filling(ours)
        assert await passed(filler, FIRST, PNG) == PNG[10:]
        await filler.abort()


POLICY = CachePolicy("simple", max_age=60)
TARGET = Target(
    get_adapter("openai"), Credentials("key"), "https://api.openai.com/v1", cache=POLICY
)
ARRIVED = StoredImage("", "1" * 64, 100, ImageHeader("image/png", 1000, 1000))
NO_PRICES: Prices = {}


def made(*images: Image, model: str = "", prices: Prices = NO_PRICES, **about: Any) -> CacheEntry:
    plan = Plan(TARGET, {}, caller="web", cache_namespace="ns")
    lines = (
        ReceiptLine("dropped", "style"),
        ReceiptLine("measured", "1"),
        ReceiptLine("converted", "n", "2", "calls=2"),
    )
    attempt = Attempt(TARGET, {"model": model}, None, receipt=Receipt(lines))
    answers = [Answer((image,), extra=about.get("extra", {})) for image in images]
    one = EntryBuilder(plan, attempt, answers, about.get("known"), None, prices, 1000.0, 5.0)
    return one.build([ARRIVED] * len(images))


def test_an_entry_has_the_caller_and_the_lifetime_of_the_policy() -> None:
    entry = made(Image(data=b"1"))
    assert (entry.caller, entry.namespace, entry.expires) == ("web", "ns", 1060)
    assert entry.seconds == 5


def test_only_receipt_lines_about_parameters_are_stored() -> None:
    assert list(map(str, made(Image(data=b"1")).receipt)) == ["dropped style"]


def test_a_url_is_handed_out_for_half_its_lifetime() -> None:
    entry = made(Image(url="https://a.test", extra={"seed": 1}))
    [image] = entry.images
    assert (image.url, image.extra) == ("https://a.test", {"seed": 1})
    assert image.url_expires == 1000 + TARGET.adapter.url_lifetime / 2
    assert entry.has_urls
    assert not made(Image(data=b"1")).has_urls


def test_created_is_the_providers_time_or_else_now() -> None:
    told = made(Image(data=b"1"), extra={"created": 7, "size": "1x1"})
    assert (told.created, told.extra) == (7, {"size": "1x1"})
    assert made(Image(data=b"1")).created > 1_700_000_000


def test_each_image_costs_its_price_or_a_default(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai: {a: 0.5, b: {megapixel: 0.25}}")
    two = (Image(data=b"1"), Image(data=b"2"))
    costs = [made(*two, model=name, prices=read_prices(prices)).dollars for name in ("a", "b", "c")]
    assert costs == [1.0, 0.5, 2 * DEFAULT_DOLLARS_PER_IMAGE]


def test_images_of_the_existing_entry_come_first() -> None:
    known = CacheEntry((ImageRecord("0" * 64, 1, ImageHeader("")),), 0, seconds=3)
    entry = made(Image(data=b"1"), known=known)
    assert [it.digest[0] for it in entry.images] == ["0", "1"]
    assert entry.seconds == 8


OPENAI, CALL = get_adapter("openai"), ImageCall({}, {})
FINISHED = {
    "type": "image_generation.completed",
    "b64_json": B64,
    "created_at": 7,
    "quality": "low",
    "seed": 1,
    "usage": {"total_tokens": 3},
}
PREVIEW = {**FINISHED, "type": "image_generation.partial_image", "partial_image_index": 0}
ERROR = {"type": "error", "error": {"message": "m"}}


def event_stream(*events: object) -> bytes:
    return b"".join(b": keep-alive\n\ndata: %b\n\n" % orjson.dumps(event) for event in events)


def of_events(*events: object) -> list[Answer]:
    return parse_recorded(OPENAI, CALL, EVENT_STREAM, event_stream(*events))


def test_json_is_parsed_with_all_fields() -> None:
    tree = {"created": 7, "data": [{"b64_json": B64, "seed": 1}], "usage": {"a": 1}, "size": "1x1"}
    [answer] = parse_recorded(OPENAI, CALL, "application/json", orjson.dumps(tree))
    [image] = answer.images
    assert (image.b64, image.extra) == (B64, {"seed": 1})
    assert (answer.extra, answer.usage) == ({"created": 7, "size": "1x1"}, {"a": 1})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data":[]}', b'{"error":{"message":"m"}}'])
def test_a_body_without_images_parses_to_nothing(body: bytes) -> None:
    assert parse_recorded(OPENAI, CALL, "application/json", body) == []


def test_only_completed_images_of_events_count() -> None:
    first, second = of_events(PREVIEW, FINISHED, {**FINISHED, "seed": 2})
    assert [it.images[0].extra for it in (first, second)] == [{"seed": 1}, {"seed": 2}]
    assert first.images[0].b64 == B64
    assert (first.extra, first.usage) == ({"created": 7, "quality": "low"}, {"total_tokens": 3})


@pytest.mark.parametrize("events", [(), (PREVIEW,), (FINISHED, ERROR), ("text", [1], None)])
def test_events_without_a_complete_response_parse_to_nothing(
    events: tuple[object, ...],
) -> None:
    assert of_events(*events) == []
