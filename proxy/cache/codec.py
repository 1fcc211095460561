"""Encoding of cache entries, for an index outside this process. Image bytes are not included.

Clocks differ between processes, so every time is stored relative to the entry's expiry.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from proxy.cache.entry import CacheEntry, ImageRecord

VERSION = b"\x02"
"""First byte of every encoded entry. Change it with any change to the fields of `CacheEntry`."""

_DECODER = msgspec.msgpack.Decoder(CacheEntry)


def encode(entry: CacheEntry) -> bytes:
    """Return an entry as bytes; raise `TypeError` or `OverflowError` if a value has no encoding."""
    relative = replace(entry, expires=0.0, images=_shift_url_expiry(entry, -entry.expires))
    return VERSION + msgspec.msgpack.encode(relative)


def decode(data: bytes, expires: float) -> CacheEntry | None:
    """Return the decoded entry, or None if it is damaged or has another version.

    `expires` is the expiry by the clock of this process.
    """
    if not data.startswith(VERSION):
        return None
    try:
        entry = _DECODER.decode(memoryview(data)[len(VERSION) :])
    except msgspec.DecodeError:
        return None
    return replace(entry, expires=expires, images=_shift_url_expiry(entry, expires))


def _shift_url_expiry(entry: CacheEntry, seconds: float) -> tuple[ImageRecord, ...]:
    """Return the image records with the expiry of their URLs moved, where they have a URL."""
    return tuple(
        replace(image, url_expires=image.url_expires + seconds) if image.url else image
        for image in entry.images
    )
