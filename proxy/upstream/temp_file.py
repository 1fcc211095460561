"""One picture's bytes on disk, while nobody knows yet whether its answer is a success.

A file without a name: it ends with whoever holds it last, and with the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from adapters.contract import Image
from adapters.frozen import frozen
from adapters.tools.image_header import HEADER_BYTES
from proxy.errors import UpstreamFailed
from proxy.settings.state_dir import ensure_private_dir

_LOG = logging.getLogger("easel")

_CHUNK = 96 * 1024
"""Bytes that are read in one go: a multiple of 3, so that base64 has no seams."""


class ImageTempFile:
    """Bytes, written once and read any number of times. `head` has the first of them."""

    __slots__ = ("_file", "_folder", "head", "length")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self.head = b""
        self.length = 0

    def __del__(self) -> None:
        if self._file:
            self._file.close()

    async def append(self, data: bytes) -> None:
        """Write what follows; raises `OSError`, and then it holds what it held before."""
        await asyncio.to_thread(self._write, data)
        self.length += len(data)
        if len(self.head) < HEADER_BYTES:
            self.head += data[: HEADER_BYTES - len(self.head)]

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give all that was written; raises `UpstreamFailed`."""
        for at in range(0, self.length, _CHUNK):
            yield await asyncio.to_thread(self._read, at, min(_CHUNK, self.length - at))

    def read_all(self) -> bytes:
        """Give all that was written in one piece; it blocks. Raises `UpstreamFailed`."""
        return self._read(0, self.length)

    def _write(self, data: bytes) -> None:
        if not self._file:
            ensure_private_dir(self._folder)
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 - see __del__
        left, at = memoryview(data), self.length
        while left:
            size = os.pwrite(self._file.fileno(), left, at)
            left, at = left[size:], at + size

    def _read(self, at: int, size: int) -> bytes:
        try:
            data = os.pread(self._file.fileno(), size, at) if self._file else b""
        except OSError:
            data = b""
        if len(data) != size:
            raise UpstreamFailed(
                "The picture was made, and lost on the gateway's disk.", code="picture_lost"
            )
        return data


@frozen
class FileImage(Image):
    """A picture that lies on a spool."""

    file: ImageTempFile = ImageTempFile(Path())

    @property
    def held(self) -> int:
        """How many bytes of a picture are here."""
        return self.file.length


class TempFiles:
    """Makes spools in a folder, and says once that they fail."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._has_warned = False

    def new(self) -> ImageTempFile:
        """Give an empty one."""
        return ImageTempFile(self._folder)

    def report_failure(self, error: OSError) -> None:
        """Tell the operator."""
        if not self._has_warned:
            reason = error.strerror or type(error).__name__
            _LOG.warning("pictures that arrive as base64 are held in memory: %s", reason)
        self._has_warned = True

    def report_success(self) -> None:
        """Note that they do."""
        self._has_warned = False
