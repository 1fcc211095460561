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

from proxy.settings.state_dir import ensure_private_dir

_LOG = logging.getLogger("easel")

_FILE_NAME = re.compile(r"([0-9a-f]{32})(\.json|\.new)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_MAX_MANIFEST_BYTES = 256 * 1024
"""Bytes of a manifest: its headers are the gateway's own, and bounded."""


def validate_headers(headers: list[tuple[str, str]], size: int) -> None:
    """Hold the headers of an answer against what may stand there; raises `ValueError`."""
    for name, value in headers:
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise ValueError("a header is damaged")
        if name.lower() == "content-length" and value != str(size):
            raise ValueError("the length is another one")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be known of an answer; `began` and `expires` in seconds since the epoch."""

    id: str
    caller: str
    digest: bytes
    idempotency_key: str
    status: Annotated[int, msgspec.Meta(ge=200, lt=400)]
    headers: list[tuple[str, str]]
    size: Annotated[int, msgspec.Meta(gt=0)]
    created_at: float
    expires_at: float
    deliveries: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        """Refuse headers that would break the answer they stand before."""
        validate_headers(self.headers, self.size)


class ResultFolder:
    """A folder in which finished answers outlive the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock_fd: int | None = None

    def load(self) -> list[Manifest]:
        """Give what an earlier process has left, oldest first, and delete what is no use.

        Nothing is given or deleted while another process uses the folder: it may be that one's.
        Nothing that has another form of name is touched. Raises `OSError`: it cannot be used.
        """
        if not self._folder.exists():
            return []
        lock_fd = self._open_lock_file()
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return []
        else:
            return self._load_and_clean()
        finally:
            # All may hold this one: it only says that the folder is in use.
            fcntl.flock(lock_fd, fcntl.LOCK_SH)

    def lock(self) -> None:
        """Make the folder, for this process to write to; raises `OSError`."""
        if self._lock_fd is None:
            fcntl.flock(self._open_lock_file(), fcntl.LOCK_SH)

    def write(self, manifest: Manifest) -> None:
        """Make an answer count whose bytes are all in its file; raises `OSError`, `ValueError`."""
        encoded = msgspec.json.encode(manifest)
        _fsync(self._folder / manifest.id)
        new = self._folder / f"{manifest.id}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(fd)
        new.replace(self._manifest_path(manifest.id))
        _fsync(self._folder)

    def remove(self, job_id: str) -> None:
        """Make an answer count no more."""
        with suppress(OSError):
            self._manifest_path(job_id).unlink()

    def close(self) -> None:
        """Let others know that the folder is not used any more."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _open_lock_file(self) -> int:
        """Give the open file that locks are held by."""
        if self._lock_fd is None:
            ensure_private_dir(self._folder)
            self._folder.chmod(0o700)
            self._lock_fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        return self._lock_fd

    def _manifest_path(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.json"

    def _load_and_clean(self) -> list[Manifest]:
        found = [it for it in map(_FILE_NAME.fullmatch, os.listdir(self._folder)) if it]  # noqa: PTH208 - names only
        valid = sorted(
            self._valid_manifests(it[1] for it in found if it[2] == ".json"),
            key=lambda it: it.created_at,
        )
        names = {name for it in valid for name in (it.id, f"{it.id}.json")}
        for it in found:
            if it[0] not in names:
                with suppress(OSError):  # A folder of that name, say.
                    (self._folder / it[0]).unlink()
        return valid

    def _valid_manifests(self, job_ids: Iterator[str]) -> Iterator[Manifest]:
        for job_id in job_ids:
            try:
                manifest = self._read_manifest(job_id)
            except (OSError, ValueError) as error:
                _LOG.warning("jobs/%s.json is no use: %s", job_id, type(error).__name__)
                continue
            if manifest.expires_at > time.time():
                yield manifest

    def _read_manifest(self, job_id: str) -> Manifest:
        """Read a manifest that has its answer beside it; raises `OSError`, `ValueError`."""
        if not 0 < _own_file_size(self._manifest_path(job_id)) <= _MAX_MANIFEST_BYTES:
            raise ValueError("its size is none")
        manifest = msgspec.json.decode(self._manifest_path(job_id).read_bytes(), type=Manifest)
        if manifest.id != job_id or manifest.size != _own_file_size(self._folder / job_id):
            raise ValueError("its answer is not there")
        return manifest


def _own_file_size(file: Path) -> int:
    """Give the size of a file of ours; of any other, such as a link or a pipe, 0."""
    info = file.lstat()
    return info.st_size if stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid() else 0


def _fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlive the machine."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
