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
from proxy.upstream.temp_file import FileImage, ImageTempFile, TempFiles

MIN_LENGTH = 64 * 1024
"""Characters from which on a text is worth the effort."""
_DECODE_SIZE = 128 * 1024
"""Characters that are decoded in one go: a multiple of 4."""
_DATA_URL = re.compile(rb"data:[^,\"\\]{0,200};base64,")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)


class Base64Extractor:
    """Reads JSON piece by piece; `left` is what stays of it, `taken` what went, by its name."""

    def __init__(self, temp_files: TempFiles) -> None:
        self.skeleton = bytearray()
        self.files: dict[str, ImageTempFile] = {}
        self._temp_files = temp_files
        self._in_string = False
        self._string_start = 0
        """Where in `left` the text begins, if one is open."""
        self._is_not_base64 = False
        """Whether that one is known to be no base64."""
        self._after_backslash = False
        """Whether a backslash came last."""
        self._extraction: _Extraction | None = None

    async def feed(self, piece: bytes) -> None:
        """Read what follows."""
        if self._extraction:
            piece = await self._extract(self._extraction, piece)
        if piece:
            self._scan(piece)
            length = len(self.skeleton) - self._string_start
            if (
                self._in_string
                and length >= MIN_LENGTH
                and not (self._is_not_base64 or self._after_backslash)
            ):
                await self._start_extraction()

    def _scan(self, piece: bytes) -> None:
        """Keep a piece, and see whether a text is open after it."""
        seen = b"\\" + piece if self._after_backslash else piece
        at = len(self.skeleton) + len(piece) - len(seen)
        self.skeleton += piece
        if b"\\" in seen:
            seen = _ESCAPE.sub(b"__", seen)
        self._after_backslash = seen.endswith(b"\\")
        if quotes := seen.count(b'"'):
            self._in_string ^= quotes % 2 == 1
            self._string_start = at + seen.rfind(b'"') + 1
            self._is_not_base64 = False

    async def _start_extraction(self) -> None:
        """Take the open text out, as far as it is here, and go on with what follows."""
        found = _DATA_URL.match(self.skeleton, self._string_start)
        at = found.end() if found else self._string_start
        text = bytes(memoryview(self.skeleton)[at:])
        del self.skeleton[at:]
        self._extraction = _Extraction(self._temp_files.new())
        if rest := await self._extract(self._extraction, text):
            self._scan(rest)

    async def _extract(self, extraction: _Extraction, piece: bytes) -> bytes:
        """Take a piece in, up to the end of the text; gives what is to be read of it."""
        end = piece.find(b'"')
        extraction.pending += piece if end < 0 else piece[:end]
        rest = b"" if end < 0 else piece[end:]
        if not rest and len(extraction.pending) < _DECODE_SIZE:
            return b""
        try:
            await extraction.decode(last=bool(rest))
        except NotBase64:
            return await self._undo_extraction(extraction) + rest
        except OSError as error:
            self._temp_files.report_failure(error)
            return await self._undo_extraction(extraction) + rest
        if rest:
            self._temp_files.report_success()
            self.skeleton += extraction.token.encode()
            self.files[extraction.token] = extraction.file
            self._extraction = None
        return rest

    async def _undo_extraction(self, extraction: _Extraction) -> bytes:
        """Put back what was taken; gives what of it has not been looked at."""
        self._extraction, self._is_not_base64 = None, True
        self.skeleton += pybase64.b64encode(await asyncio.to_thread(extraction.file.read_all))
        return bytes(extraction.pending)


class _Extraction:
    """A text that is being taken out; `text` is what of it has not been decoded yet."""

    def __init__(self, file: ImageTempFile) -> None:
        self.file = file
        self.token = secrets.token_hex(16)
        self.pending = bytearray()
        self._has_padding = False

    async def decode(self, *, last: bool) -> None:
        """Decode what is there; raises `NotBase64`, or `OSError`, and then it is there still."""
        text = bytes(self.pending)
        if not last:
            text = text[: len(text) // 4 * 4]
        data = pybase64.b64decode(text, validate=True)
        is_end = text.endswith(b"=")
        if (text and self._has_padding) or (
            is_end and pybase64.b64encode(data[-(len(data) % 3) :]) != text[-4:]
        ):
            raise NotBase64
        await self.file.append(data)
        self._has_padding = is_end
        self.pending = bytearray() if last else self.pending[len(text) :]


async def restore_images(answer: Answer, files: Mapping[str, ImageTempFile]) -> Answer:
    """Give an answer the pictures that were taken out of its replies.

    Where an adapter passes such a text on as anything else, it is put back.
    """
    images = tuple(_with_file(image, files) for image in answer.images)
    return await asyncio.to_thread(_restore_texts, replace(answer, images=images, body=None), files)


def _with_file(image: Image, files: Mapping[str, ImageTempFile]) -> Image:
    spool = files.get(image.b64.rpartition(",")[2])
    if spool is None:
        return image
    return FileImage(
        media_type=image.media_type,
        extra=image.extra,
        partial_index=image.partial_index,
        file=spool,
    )


def _restore_texts(answer: Answer, files: Mapping[str, ImageTempFile]) -> Answer:
    """Put texts back wherever their names stand beside the pictures. It blocks."""
    images = tuple(replace(it, extra=_restore_tree(it.extra, files)) for it in answer.images)
    usage = answer.usage and _restore_tree(answer.usage, files)
    return replace(answer, images=images, usage=usage, extra=_restore_tree(answer.extra, files))


def _restore_tree(tree: Mapping[str, Any], files: Mapping[str, ImageTempFile]) -> Mapping[str, Any]:
    try:
        was = written = orjson.dumps(dict(tree))
    except orjson.JSONEncodeError:
        return tree  # Whoever writes it says what is wrong.
    for name, spool in files.items():
        if name.encode() in written:
            written = written.replace(name.encode(), pybase64.b64encode(spool.read_all()))
    found: Mapping[str, Any] = tree if written is was else orjson.loads(written)
    return found
