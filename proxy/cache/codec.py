"""An entry as bytes, for an index that lies elsewhere. Its pictures' bytes are no part of it.

Clocks differ from process to process: of each time only the distance to the entry's end is written.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from proxy.cache.entry import CacheEntry, ImageRecord

VERSION = b"\x01"
"""What every entry begins with: another one for another shape of `Entry`, or another meaning."""

_DECODER = msgspec.msgpack.Decoder(CacheEntry)


def encode(entry: CacheEntry) -> bytes:
    """Write an entry; raises `TypeError` or `OverflowError` for what cannot be written."""
    relative = replace(entry, expires=0.0, pictures=_shift_url_expiry(entry, -entry.expires))
    return VERSION + msgspec.msgpack.encode(relative)


def decode(data: bytes, expires: float) -> CacheEntry | None:
    """Read an entry that ends at a time; None where its version is not ours, or it is damaged."""
    if not data.startswith(VERSION):
        return None
    try:
        entry = _DECODER.decode(memoryview(data)[len(VERSION) :])
    except msgspec.DecodeError:
        return None
    return replace(entry, expires=expires, pictures=_shift_url_expiry(entry, expires))


def _shift_url_expiry(entry: CacheEntry, seconds: float) -> tuple[ImageRecord, ...]:
    """Give the pictures with the end of their URLs moved, where they have one."""
    return tuple(
        replace(it, url_until=it.url_expires + seconds) if it.url else it for it in entry.images
    )
