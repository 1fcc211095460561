"""Encoding of cache entries."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from adapters.table.receipt import ReceiptLine
from adapters.tools.image_header import ImageHeader
from proxy.cache.codec import VERSION, decode, encode
from proxy.cache.entry import CacheEntry, ImageRecord

ENTRY = CacheEntry(
    (
        ImageRecord("a" * 64, 5, ImageHeader("image/png", 2, 3), {"seed": 1, "more": [None, {}]}),
        ImageRecord("b" * 64, 6, ImageHeader(""), url="https://a.test/p.png", url_expires=140),
    ),
    expires=100,
    caller="web",
    namespace="n",
    created=7,
    usage={"total_tokens": 2},
    extra={"size": "1x1", "at": 0.5},
    receipt=(ReceiptLine("converted", "size", "2x2", "1x1"), ReceiptLine("dropped", "style")),
    has_urls=True,
    dollars=0.25,
    seconds=3.5,
)


def test_an_entry_survives_encoding_with_another_clock() -> None:
    first, second = ENTRY.images
    moved = replace(ENTRY, expires=1000, images=(first, replace(second, url_expires=1040)))
    assert decode(encode(ENTRY), 1000) == moved


@pytest.mark.parametrize(
    "data",
    [b"", VERSION, VERSION + b"\x90", b"\x00" + encode(ENTRY)[1:], encode(ENTRY)[:-1]],
)
def test_another_version_or_damaged_data_decodes_to_none(data: bytes) -> None:
    assert decode(data, 1) is None


@pytest.mark.parametrize("odd", [object(), 1 << 64])
def test_values_without_an_encoding_raise_an_error(odd: Any) -> None:
    with pytest.raises((TypeError, OverflowError)):
        encode(replace(ENTRY, extra={"a": odd}))


def test_changed_fields_need_a_new_version() -> None:
    shapes = [
        [it.name for it in fields(kind)]
        for kind in (CacheEntry, ImageRecord, ImageHeader, ReceiptLine)
    ]
    # A change here needs another value of `VERSION`.
    assert (VERSION, shapes) == (
        b"\x02",
        [
            [
                "images",
                "expires",
                "caller",
                "namespace",
                "created",
                "usage",
                "extra",
                "receipt",
                "has_urls",
                "dollars",
                "seconds",
            ],
            ["digest", "length", "header", "extra", "url", "url_expires"],
            ["media_type", "width", "height"],
            ["verb", "name", "value", "outcome"],
        ],
    )
