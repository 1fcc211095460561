"""What one process leaves for the next: finished answers in a folder, each with its manifest.

    {id}         the answer's bytes: its tape's own file
    {id}.json    the manifest: whose it is, what was asked for, how long it waits
    {id}.new     a manifest that is being written
    lock         held by every process that uses the folder

An answer counts once its manifest is there; any other file of such a name is what a crash has left.
All but `drop` and `close` may block for long: call it in a thread.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

from proxy.settings.state_dir import make_private

_LOG = logging.getLogger("easel")

_OURS = re.compile(r"([0-9a-f]{32})(\.json|\.new)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_MOST = 256 * 1024
"""Bytes of a manifest: its headers are the gateway's own, and bounded."""


def check_headers(headers: list[tuple[str, str]], size: int) -> None:
    """Hold the headers of an answer against what may stand there; raises `ValueError`."""
    for name, value in headers:
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise ValueError("a header is damaged")
        if name.lower() == "content-length" and value != str(size):
            raise ValueError("the length is another one")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be known of an answer; `began` and `expires` in seconds since the epoch."""

    id: str
    caller: str
    digest: bytes
    key: str
    status: Annotated[int, msgspec.Meta(ge=200, lt=400)]
    headers: list[tuple[str, str]]
    size: Annotated[int, msgspec.Meta(gt=0)]
    began: float
    expires: float
    delivered: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        """Refuse headers that would break the answer they stand before."""
        check_headers(self.headers, self.size)


class Handover:
    """A folder in which finished answers outlive the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    def take(self) -> list[Manifest]:
        """Give what an earlier process has left, oldest first, and delete what is no use.

        Nothing is given or deleted while another process uses the folder: it may be that one's.
        Nothing that has another form of name is touched. Raises `OSError`: it cannot be used.
        """
        if not self._folder.exists():
            return []
        lock = self._locked()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return []
        else:
            return self._sorted_out()
        finally:
            # All may hold this one: it only says that the folder is in use.
            fcntl.flock(lock, fcntl.LOCK_SH)

    def claim(self) -> None:
        """Make the folder, for this process to write to; raises `OSError`."""
        if self._lock is None:
            fcntl.flock(self._locked(), fcntl.LOCK_SH)

    def write(self, manifest: Manifest) -> None:
        """Make an answer count whose bytes are all in its file; raises `OSError`, `ValueError`."""
        written = msgspec.json.encode(manifest)
        _synced(self._folder / manifest.id)
        new = self._folder / f"{manifest.id}.new"
        opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "wb") as file:
            file.write(written)
            file.flush()
            os.fsync(opened)
        new.replace(self._place(manifest.id))
        _synced(self._folder)

    def drop(self, name: str) -> None:
        """Make an answer count no more."""
        with suppress(OSError):
            self._place(name).unlink()

    def close(self) -> None:
        """Let others know that the folder is not used any more."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _locked(self) -> int:
        """Give the open file that locks are held by."""
        if self._lock is None:
            make_private(self._folder)
            self._folder.chmod(0o700)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        return self._lock

    def _place(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _sorted_out(self) -> list[Manifest]:
        found = [it for it in map(_OURS.fullmatch, os.listdir(self._folder)) if it]  # noqa: PTH208 - names only
        good = sorted(
            self._good(it[1] for it in found if it[2] == ".json"), key=lambda it: it.began
        )
        names = {name for it in good for name in (it.id, f"{it.id}.json")}
        for it in found:
            if it[0] not in names:
                with suppress(OSError):  # A folder of that name, say.
                    (self._folder / it[0]).unlink()
        return good

    def _good(self, names: Iterator[str]) -> Iterator[Manifest]:
        for name in names:
            try:
                manifest = self._read(name)
            except (OSError, ValueError) as error:
                _LOG.warning("jobs/%s.json is no use: %s", name, type(error).__name__)
                continue
            if manifest.expires > time.time():
                yield manifest

    def _read(self, name: str) -> Manifest:
        """Read a manifest that has its answer beside it; raises `OSError`, `ValueError`."""
        if not 0 < _size_of(self._place(name)) <= _MOST:
            raise ValueError("its size is none")
        manifest = msgspec.json.decode(self._place(name).read_bytes(), type=Manifest)
        if manifest.id != name or manifest.size != _size_of(self._folder / name):
            raise ValueError("its answer is not there")
        return manifest


def _size_of(file: Path) -> int:
    """Give the size of a file of ours; of any other, such as a link or a pipe, 0."""
    about = file.lstat()
    return about.st_size if stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() else 0


def _synced(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlive the machine."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
