"""Takes long base64 out of a reply's JSON while it arrives, so that no picture is held whole.

A provider with a shape of its own puts a picture into JSON, megabytes of text, and nothing can be
told of the reply before its last byte. So each such text goes, decoded, onto a spool, and a name
that nobody can guess stands in its place; the adapter reads what is left as if it were the reply.

The law: with each name replaced by the text it stands for, what is left is the reply.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pybase64

from adapters.contract import Answer, Image
from proxy.upstream.temp_file import Spool, SpooledImage, Spools

LONG = 64 * 1024
"""Characters from which on a text is worth the effort."""
_PIECE = 128 * 1024
"""Characters that are decoded in one go: a multiple of 4."""
_BEGINNING = re.compile(rb"data:[^,\"\\]{0,200};base64,")
_ESCAPED = re.compile(rb"\\.", re.DOTALL)


class Sieve:
    """Reads JSON piece by piece; `left` is what stays of it, `taken` what went, by its name."""

    def __init__(self, spools: Spools) -> None:
        self.left = bytearray()
        self.taken: dict[str, Spool] = {}
        self._spools = spools
        self._in_text = False
        self._begins = 0
        """Where in `left` the text begins, if one is open."""
        self._stays = False
        """Whether that one is known to be no base64."""
        self._escapes = False
        """Whether a backslash came last."""
        self._taking: _Taking | None = None

    async def feed(self, piece: bytes) -> None:
        """Read what follows."""
        if self._taking:
            piece = await self._take(self._taking, piece)
        if piece:
            self._read(piece)
            length = len(self.left) - self._begins
            if self._in_text and length >= LONG and not (self._stays or self._escapes):
                await self._begin()

    def _read(self, piece: bytes) -> None:
        """Keep a piece, and see whether a text is open after it."""
        seen = b"\\" + piece if self._escapes else piece
        at = len(self.left) + len(piece) - len(seen)
        self.left += piece
        if b"\\" in seen:
            seen = _ESCAPED.sub(b"__", seen)
        self._escapes = seen.endswith(b"\\")
        if quotes := seen.count(b'"'):
            self._in_text ^= quotes % 2 == 1
            self._begins = at + seen.rfind(b'"') + 1
            self._stays = False

    async def _begin(self) -> None:
        """Take the open text out, as far as it is here, and go on with what follows."""
        found = _BEGINNING.match(self.left, self._begins)
        at = found.end() if found else self._begins
        text = bytes(memoryview(self.left)[at:])
        del self.left[at:]
        self._taking = _Taking(self._spools.new())
        if rest := await self._take(self._taking, text):
            self._read(rest)

    async def _take(self, taking: _Taking, piece: bytes) -> bytes:
        """Take a piece in, up to the end of the text; gives what is to be read of it."""
        end = piece.find(b'"')
        taking.text += piece if end < 0 else piece[:end]
        rest = b"" if end < 0 else piece[end:]
        if not rest and len(taking.text) < _PIECE:
            return b""
        try:
            await taking.decode(last=bool(rest))
        except NotBase64:
            return await self._given_back(taking) + rest
        except OSError as error:
            self._spools.failed(error)
            return await self._given_back(taking) + rest
        if rest:
            self._spools.worked()
            self.left += taking.name.encode()
            self.taken[taking.name] = taking.spool
            self._taking = None
        return rest

    async def _given_back(self, taking: _Taking) -> bytes:
        """Put back what was taken; gives what of it has not been looked at."""
        self._taking, self._stays = None, True
        self.left += pybase64.b64encode(await asyncio.to_thread(taking.spool.whole))
        return bytes(taking.text)


class _Taking:
    """A text that is being taken out; `text` is what of it has not been decoded yet."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.name = secrets.token_hex(16)
        self.text = bytearray()
        self._ended = False

    async def decode(self, *, last: bool) -> None:
        """Decode what is there; raises `NotBase64`, or `OSError`, and then it is there still."""
        text = bytes(self.text)
        if not last:
            text = text[: len(text) // 4 * 4]
        data = pybase64.b64decode(text, validate=True)
        is_end = text.endswith(b"=")
        if (text and self._ended) or (
            is_end and pybase64.b64encode(data[-(len(data) % 3) :]) != text[-4:]
        ):
            raise NotBase64
        await self.spool.add(data)
        self._ended = is_end
        self.text = bytearray() if last else self.text[len(text) :]


async def with_taken(answer: Answer, taken: Mapping[str, Spool]) -> Answer:
    """Give an answer the pictures that were taken out of its replies.

    Where an adapter passes such a text on as anything else, it is put back.
    """
    images = tuple(_with_spool(image, taken) for image in answer.images)
    return await asyncio.to_thread(_put_back, replace(answer, images=images, body=None), taken)


def _with_spool(image: Image, taken: Mapping[str, Spool]) -> Image:
    spool = taken.get(image.b64.rpartition(",")[2])
    if spool is None:
        return image
    return SpooledImage(
        media_type=image.media_type, extra=image.extra, preview=image.preview, spool=spool
    )


def _put_back(answer: Answer, taken: Mapping[str, Spool]) -> Answer:
    """Put texts back wherever their names stand beside the pictures. It blocks."""
    images = tuple(replace(it, extra=_in_full(it.extra, taken)) for it in answer.images)
    usage = answer.usage and _in_full(answer.usage, taken)
    return replace(answer, images=images, usage=usage, extra=_in_full(answer.extra, taken))


def _in_full(tree: Mapping[str, Any], taken: Mapping[str, Spool]) -> Mapping[str, Any]:
    try:
        was = written = orjson.dumps(dict(tree))
    except orjson.JSONEncodeError:
        return tree  # Whoever writes it says what is wrong.
    for name, spool in taken.items():
        if name.encode() in written:
            written = written.replace(name.encode(), pybase64.b64encode(spool.whole()))
    found: Mapping[str, Any] = tree if written is was else orjson.loads(written)
    return found
