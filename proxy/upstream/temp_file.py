"""Unnamed temporary files for images, while it is unknown whether their reply is a success.

Such a file is gone with its last reference, and with the process.
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
"""Bytes that are read at a time: a multiple of 3, so that chunks in base64 can be joined."""


class SharedTempFile:
    """One file for all images of a conversation, written one after the other; `size` is its end."""

    __slots__ = ("_file", "_folder", "size")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self.size = 0

    def __del__(self) -> None:
        if self._file:
            self._file.close()

    def write(self, data: bytes, at: int) -> None:
        """Write bytes at an offset (blocking); raise `OSError`."""
        if not self._file:
            ensure_private_dir(self._folder)
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 - see __del__
        left = memoryview(data)
        while left:
            size = os.pwrite(self._file.fileno(), left, at)
            left, at = left[size:], at + size

    def read(self, at: int, size: int) -> bytes:
        """Return bytes at an offset (blocking), fewer if they cannot be read."""
        try:
            return os.pread(self._file.fileno(), size, at) if self._file else b""
        except OSError:
            return b""


class ImageTempFile:
    """The bytes of one image, written once and read any number of times. `head` has the first.

    It is a part of a `shared` file, by default of a file of its own.
    """

    __slots__ = ("_shared", "_start", "head", "length")

    def __init__(self, folder: Path, shared: SharedTempFile | None = None) -> None:
        self._shared = shared or SharedTempFile(folder)
        self._start = self._shared.size
        self.head = b""
        self.length = 0

    async def append(self, data: bytes) -> None:
        """Append bytes; on `OSError` the content stays as it was."""
        await asyncio.to_thread(self._write, data)
        self.length += len(data)
        self._shared.size = self._start + self.length
        if len(self.head) < HEADER_BYTES:
            self.head += data[: HEADER_BYTES - len(self.head)]

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content in chunks; raise `UpstreamFailed` if it cannot be read."""
        for at in range(0, self.length, _CHUNK):
            yield await asyncio.to_thread(self._read, at, min(_CHUNK, self.length - at))

    def read_all(self) -> bytes:
        """Return the whole content (blocking); raise `UpstreamFailed` if it cannot be read."""
        return self._read(0, self.length)

    def discard(self) -> None:
        """Free the part of the shared file: the next image is written over it."""
        self._shared.size = self._start
        self.length = 0

    def _write(self, data: bytes) -> None:
        self._shared.write(data, self._start + self.length)

    def _read(self, at: int, size: int) -> bytes:
        data = self._shared.read(self._start + at, size)
        if len(data) != size:
            raise UpstreamFailed(
                "The image was generated, but the gateway could not read it back from its disk.",
                code="picture_lost",
            )
        return data


@frozen
class FileImage(Image):
    """An image whose bytes are in a temporary file."""

    file: ImageTempFile = ImageTempFile(Path())

    @property
    def inline_size(self) -> int:
        """The size in bytes of the image in the file."""
        return self.file.length


class TempFiles:
    """Makes temporary files in a folder; logs once per outage that writing them fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._has_warned = False

    def new(self) -> SharedTempFile:
        """Return an empty file for the images of one conversation."""
        return SharedTempFile(self._folder)

    def report_failure(self, error: OSError) -> None:
        """Log that writing failed, unless it was logged already."""
        if not self._has_warned:
            reason = error.strerror or type(error).__name__
            _LOG.warning(
                "cannot write a temporary file: %s; keeping base64 images in memory", reason
            )
        self._has_warned = True

    def report_success(self) -> None:
        """Record that writing works, so that the next failure is logged."""
        self._has_warned = False
