"""Limits on what a provider's reply may become: its size decompressed, and its values parsed.

A reply of a few kilobytes can decompress to megabytes, and a megabyte of `{},` is parsed into
thirty. So both are counted from the first byte, before anything is built.
"""

from __future__ import annotations

import re
import zlib
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from proxy.errors import UpstreamFailed
from proxy.upstream.turns import next_turn

MAX_VALUES = 100_000
"""Most values (objects, lists and their members) of one reply or event in JSON."""
MAX_RATIO = 100
"""Most bytes that one byte of a compressed reply may decompress to."""
_PIECE = 256 * 1024
"""Bytes that are decompressed or counted in one turn of the event loop."""

_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_OTHER_BYTES = bytes(set(range(256)) - set(b'{}[],"'))
"""All bytes but brackets, commas and quotes."""
_CONTAINERS = (b"{", b"[")
_VALUE_MARKS = (b"{", b"[", b",")


class JsonStructure:
    """Finds the brackets and commas outside of strings in a JSON text that arrives in chunks."""

    __slots__ = ("_after_backslash", "_in_string")

    def __init__(self) -> None:
        self._in_string = False
        self._after_backslash = False

    def outside_strings(self, chunk: bytes) -> bytes:
        """Return the brackets and commas outside of strings in the next chunk."""
        if self._in_string and b'"' not in chunk and b"\\" not in chunk:
            # The middle of base64.
            self._after_backslash = False
            return b""
        if self._after_backslash:
            chunk = b"\\" + chunk
        if b"\\" in chunk:
            chunk = _ESCAPE.sub(b"", chunk)
        self._after_backslash = chunk.endswith(b"\\")
        texts = chunk.translate(None, _OTHER_BYTES).split(b'"')
        outside = b"".join(texts[self._in_string :: 2])
        self._in_string ^= len(texts) % 2 == 0
        return outside


class ValueCounter(JsonStructure):
    """Counts the values of a JSON text that arrives in chunks, without parsing it.

    It counts the brackets and commas outside of strings: all values but the first member of each
    object or list.
    """

    __slots__ = ("values",)

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def add(self, chunk: bytes) -> None:
        """Count the values that begin in the next chunk."""
        outside = self.outside_strings(chunk)
        self.values += sum(map(outside.count, _VALUE_MARKS))


async def check_values(body: bytes) -> None:
    """Raise `UpstreamFailed` for JSON with more than `MAX_VALUES` values.

    A body that is neither an object nor a list is one value, or no JSON.
    """
    if len(body) <= MAX_VALUES or body.removeprefix(BOM_UTF8).lstrip()[:1] not in _CONTAINERS:
        return
    for values in _count_stepwise(body):
        if values > MAX_VALUES:
            raise too_many_values()
        await next_turn()


def has_too_many_values(body: bytes) -> bool:
    """Return whether a text, JSON or events, has more than `MAX_VALUES` values. For a thread."""
    return len(body) > MAX_VALUES and any(it > MAX_VALUES for it in _count_stepwise(body))


def _count_stepwise(body: bytes) -> Iterator[int]:
    """Yield the number of values in a growing part of a text, after each short step."""
    counter, view = ValueCounter(), memoryview(body)
    for at in range(0, len(body), _PIECE):
        counter.add(bytes(view[at : at + _PIECE]))
        yield counter.values


class Inflater:
    """Decompresses gzip or deflate in pieces, at most `MAX_RATIO` bytes for each byte."""

    def __init__(self, encoding: str) -> None:
        if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
            raise UpstreamFailed(
                "The provider's response has a content-encoding that was not requested.",
                code="bad_answer",
            )
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._packed = self._plain = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk decompresses to, in short pieces; raise `UpstreamFailed`."""
        self._packed += len(chunk)
        while not self._inflater.eof:
            try:
                piece = self._inflater.decompress(chunk, _PIECE)
            except zlib.error:
                raise _damaged_reply() from None
            self._plain += len(piece)
            if self._plain > self._packed * MAX_RATIO:
                raise reply_too_large()
            if piece:
                yield piece
            if len(piece) < _PIECE:
                return
            chunk = self._inflater.unconsumed_tail

    def finish(self) -> None:
        """Raise `UpstreamFailed` if the compressed data has no end."""
        if self._packed and not self._inflater.eof:
            raise _damaged_reply()


def inflate(chunks: AsyncIterator[bytes], encoding: str, limit: int) -> AsyncGenerator[bytes, None]:
    """Return a compressed body decompressed, at most `limit` bytes; raise `UpstreamFailed`."""
    return _inflate(chunks, Inflater(encoding), limit)


async def _inflate(
    chunks: AsyncIterator[bytes], inflater: Inflater, limit: int
) -> AsyncGenerator[bytes, None]:
    """Yield one short piece for each turn of the event loop."""
    async for chunk in chunks:
        for piece in inflater.feed(chunk):
            limit -= len(piece)
            if limit < 0:
                raise reply_too_large()
            yield piece
            await next_turn()
    inflater.finish()


def reply_too_large() -> UpstreamFailed:
    """Return the error for a reply that is larger than the limits allow."""
    return UpstreamFailed(
        "The provider's response is larger than the limits allow.", code="too_large"
    )


def too_many_values() -> UpstreamFailed:
    """Return the error for a reply with too many values."""
    return UpstreamFailed(
        f"The provider's response contains more than {MAX_VALUES} JSON values.", code="too_large"
    )


def _damaged_reply() -> UpstreamFailed:
    return UpstreamFailed("The provider's response cannot be decompressed.", code="bad_answer")
