"""The file that access lines are appended to, also after somebody has moved it away."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

_LOG = logging.getLogger("easel")


class LogFile:
    """Appends texts to a file, which only its owner may read.

    Before each it looks whether the file of that name is still the one that is open, and opens it
    anew where it is not: whoever rotates logs need not tell anybody.
    """

    def __init__(self, path: str) -> None:
        """Open the file; raises `OSError`."""
        self._path = path
        self._reopen_failed = False
        self._descriptor = self._open()

    def write(self, text: str) -> int:
        """Append a text; raises `OSError`."""
        if text:
            self._reopen_if_rotated()
            left = memoryview(text.encode())
            while left:
                # In one go, so that several processes do not write into each other's lines.
                left = left[os.write(self._descriptor, left) :]
        return len(text)

    def flush(self) -> None:
        """Do nothing: all is written."""

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def _reopen_if_rotated(self) -> None:
        """Open the file anew where it is another one; where that fails, go on in the old one."""
        try:
            there, ours = None, os.fstat(self._descriptor)
            with suppress(FileNotFoundError):
                there = os.stat(self._path)  # noqa: PTH116 - a path would be made for every line
            if there and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
            opened = self._open()
        except OSError as error:
            if not self._reopen_failed:
                self._reopen_failed = True
                _LOG.error("the log file %s cannot be opened anew: %s", self._path, error.strerror)  # noqa: TRY400 - the system's reason is enough
            return
        os.close(self._descriptor)
        self._descriptor, self._reopen_failed = opened, False
