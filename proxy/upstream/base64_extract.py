"""Extracts long base64 strings from a reply's JSON while it arrives, to keep images out of memory.

Many providers put an image into JSON as megabytes of base64, and JSON cannot be parsed before its
last byte. So each such string is decoded into a temporary file, and an unguessable token takes its
place. The adapter parses the remaining skeleton as if it were the reply.

The invariant: the skeleton with each token replaced by its text is the reply.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pybase64

from adapters.contract import Answer, Image
from proxy.upstream.temp_file import FileImage, ImageTempFile, SharedTempFile, TempFiles
from proxy.upstream.turns import next_turn

MIN_LENGTH = 64 * 1024
"""Strings shorter than this many characters stay in the skeleton."""
MAX_TEXTS = 14
"""Strings that are extracted from one reply, by default."""
_DECODE_SIZE = 128 * 1024
"""Characters that are decoded at a time: a multiple of 4."""
_DATA_URL = re.compile(rb"data:[^,\"\\]{0,200};base64,")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)


class Base64Extractor:
    """Incremental extractor. `skeleton` is the JSON with images replaced by tokens.

    `files` maps each token to its image in the temporary file, which all texts share. At most
    `max_texts` are extracted; further ones stay in the skeleton.
    """

    def __init__(
        self,
        temp_files: TempFiles,
        max_texts: int = MAX_TEXTS,
        shared: SharedTempFile | None = None,
    ) -> None:
        self.skeleton = bytearray()
        self.files: dict[str, ImageTempFile] = {}
        self._temp_files = temp_files
        self._max_texts = max_texts
        self._shared = shared or temp_files.new()
        self._in_string = False
        self._string_start = 0
        """Index in `skeleton` at which the open string begins, if one is open."""
        self._is_not_base64 = False
        """Whether the open string is known to stay in the skeleton."""
        self._after_backslash = False
        """Whether the last byte was a backslash that escapes the next one."""
        self._extraction: _Extraction | None = None

    async def feed(self, chunk: bytes) -> None:
        """Process the next chunk of the reply."""
        if self._extraction:
            chunk = await self._extract(self._extraction, chunk)
        if chunk:
            self._scan(chunk)
            length = len(self.skeleton) - self._string_start
            if (
                self._in_string
                and len(self.files) < self._max_texts
                and length >= MIN_LENGTH
                and not (self._is_not_base64 or self._after_backslash)
            ):
                await self._start_extraction()

    def _scan(self, chunk: bytes) -> None:
        """Append a chunk to the skeleton, and find out whether a string is open after it."""
        seen = b"\\" + chunk if self._after_backslash else chunk
        at = len(self.skeleton) + len(chunk) - len(seen)
        self.skeleton += chunk
        if b"\\" in seen:
            seen = _ESCAPE.sub(b"__", seen)
        self._after_backslash = seen.endswith(b"\\")
        if quotes := seen.count(b'"'):
            self._in_string ^= quotes % 2 == 1
            self._string_start = at + seen.rfind(b'"') + 1
            self._is_not_base64 = False

    async def _start_extraction(self) -> None:
        """Extract the open string as far as it has arrived, and scan what follows it."""
        found = _DATA_URL.match(self.skeleton, self._string_start)
        at = found.end() if found else self._string_start
        text = bytes(memoryview(self.skeleton)[at:])
        del self.skeleton[at:]
        self._extraction = _Extraction(ImageTempFile(Path(), self._shared))
        if rest := await self._extract(self._extraction, text):
            self._scan(rest)

    async def _extract(self, extraction: _Extraction, chunk: bytes) -> bytes:
        """Add a chunk up to the end of the string; return what is left to scan."""
        end = chunk.find(b'"')
        extraction.pending += chunk if end < 0 else chunk[:end]
        rest = b"" if end < 0 else chunk[end:]
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
        """Put an extracted string back; return the part that was not scanned yet."""
        self._extraction, self._is_not_base64 = None, True
        self.skeleton += pybase64.b64encode(await asyncio.to_thread(extraction.file.read_all))
        extraction.file.discard()
        return bytes(extraction.pending)


class _Extraction:
    """A string that is being extracted; `pending` is not decoded yet."""

    def __init__(self, file: ImageTempFile) -> None:
        self.file = file
        self.token = secrets.token_hex(16)
        self.pending = bytearray()
        self._has_padding = False

    async def decode(self, *, last: bool) -> None:
        """Decode what is pending; on `NotBase64` or `OSError` it stays pending."""
        text = bytes(self.pending)
        if not last:
            text = text[: len(text) // 4 * 4]
            await next_turn()
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
    """Return an answer with the extracted images; `files` maps tokens to them.

    If an adapter uses such a string as anything but an image, its text is restored.
    """
    images = tuple(_with_file(image, files) for image in answer.images)
    return await asyncio.to_thread(_restore_texts, replace(answer, images=images, body=None), files)


def _with_file(image: Image, files: Mapping[str, ImageTempFile]) -> Image:
    file = files.get(image.b64.rpartition(",")[2])
    if file is None:
        return image
    return FileImage(
        media_type=image.media_type,
        extra=image.extra,
        partial_index=image.partial_index,
        file=file,
    )


def _restore_texts(answer: Answer, files: Mapping[str, ImageTempFile]) -> Answer:
    """Replace tokens outside of the images by their texts. Blocks."""
    images = tuple(
        replace(image, extra=_restore_tree(image.extra, files)) for image in answer.images
    )
    usage = answer.usage and _restore_tree(answer.usage, files)
    return replace(answer, images=images, usage=usage, extra=_restore_tree(answer.extra, files))


def _restore_tree(tree: Mapping[str, Any], files: Mapping[str, ImageTempFile]) -> Mapping[str, Any]:
    try:
        original = text = orjson.dumps(dict(tree))
    except orjson.JSONEncodeError:
        return tree  # The error is reported where the answer is serialized.
    for token, file in files.items():
        if token.encode() in text:
            text = text.replace(token.encode(), pybase64.b64encode(file.read_all()))
    restored: Mapping[str, Any] = tree if text is original else orjson.loads(text)
    return restored
