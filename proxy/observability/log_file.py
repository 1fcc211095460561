"""The access log's file, reopened after log rotation."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

_LOG = logging.getLogger("easel")


class LogFile:
    """Appends text to a file that only its owner may read (mode 0600).

    Before each write it checks whether the path still names the open file, and reopens it if not,
    so that log rotation needs no signal.
    """

    def __init__(self, path: str) -> None:
        """Open the file. Raises `OSError`."""
        self._path = path
        self._reopen_failed = False
        self._descriptor = self._open()

    def write(self, text: str) -> int:
        """Append a text. Raises `OSError`."""
        if text:
            self._reopen_if_rotated()
            rest = memoryview(text.encode())
            while rest:
                # One write, so that the lines of several processes do not mix.
                rest = rest[os.write(self._descriptor, rest) :]
        return len(text)

    def flush(self) -> None:
        """Do nothing: `write` does not buffer."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def _reopen_if_rotated(self) -> None:
        """Reopen the path if it names another file now. If that fails, keep the old file."""
        try:
            current, ours = None, os.fstat(self._descriptor)
            with suppress(FileNotFoundError):
                current = os.stat(self._path)  # noqa: PTH116 - a Path would be built per line
            if current and (current.st_dev, current.st_ino) == (ours.st_dev, ours.st_ino):
                return
            opened = self._open()
        except OSError as error:
            if not self._reopen_failed:
                self._reopen_failed = True
                _LOG.error(
                    "cannot reopen the log file %s: %s; still writing to the old file",
                    self._path,
                    error.strerror,
                )  # noqa: TRY400 - the system's reason is enough
            return
        os.close(self._descriptor)
        self._descriptor, self._reopen_failed = opened, False
