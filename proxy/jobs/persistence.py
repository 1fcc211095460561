"""Results that survive a restart: a folder of finished responses, each with its manifest.

    {id}         the body: the file of the job's recording
    {id}.json    the manifest: caller, request digest, expiry, status and headers
    {id}.new     a manifest that is being written
    lock         locked by every process that uses the folder

A result counts once its manifest exists; any other file with such a name was left by a crash.
All methods but `remove` and `close` may block for long: call them in a thread.
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
"""Largest manifest, in bytes: its headers are the gateway's own and bounded."""


def validate_headers(headers: list[tuple[str, str]], size: int) -> None:
    """Validate response headers read from disk or from the cluster; raise `ValueError`."""
    for name, value in headers:
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise ValueError("invalid header")
        if name.lower() == "content-length" and value != str(size):
            raise ValueError("content-length differs from the size of the body")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metadata of a result. `created_at` and `expires_at` are in seconds since the epoch."""

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
        """Reject headers that would corrupt the response."""
        validate_headers(self.headers, self.size)


class ResultFolder:
    """A folder in which results survive the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock_fd: int | None = None

    def load(self) -> list[Manifest]:
        """Return the manifests that an earlier process has left, oldest first; delete the rest.

        While another process uses the folder, returns and deletes nothing, because the results may
        be that one's. Files with other names are not touched. Raises `OSError` if the folder
        cannot be used.
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
            # A shared lock: it only shows that the folder is in use.
            fcntl.flock(lock_fd, fcntl.LOCK_SH)

    def lock(self) -> None:
        """Create the folder and lock it for shared use; raise `OSError`."""
        if self._lock_fd is None:
            fcntl.flock(self._open_lock_file(), fcntl.LOCK_SH)

    def write(self, manifest: Manifest) -> None:
        """Write the manifest of a result whose body is in its file.

        Both survive a crash of the machine. Raises `OSError`, `ValueError`.
        """
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
        """Delete a manifest, so that the result no longer counts."""
        with suppress(OSError):
            self._manifest_path(job_id).unlink()

    def close(self) -> None:
        """Release the lock on the folder."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _open_lock_file(self) -> int:
        """Return the file descriptor that holds the lock; create the folder if needed."""
        if self._lock_fd is None:
            ensure_private_dir(self._folder)
            self._folder.chmod(0o700)
            self._lock_fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        return self._lock_fd

    def _manifest_path(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.json"

    def _load_and_clean(self) -> list[Manifest]:
        found = [it for it in map(_FILE_NAME.fullmatch, os.listdir(self._folder)) if it]  # noqa: PTH208 - names only
        manifests = self._valid_manifests(it[1] for it in found if it[2] == ".json")
        valid = sorted(manifests, key=lambda it: it.created_at)
        names = {name for it in valid for name in (it.id, f"{it.id}.json")}
        for it in found:
            if it[0] not in names:
                with suppress(OSError):  # For example, a folder of that name.
                    (self._folder / it[0]).unlink()
        return valid

    def _valid_manifests(self, job_ids: Iterator[str]) -> Iterator[Manifest]:
        for job_id in job_ids:
            try:
                manifest = self._read_manifest(job_id)
            except (OSError, ValueError) as error:
                _LOG.warning("ignoring invalid jobs/%s.json: %s", job_id, type(error).__name__)
                continue
            if manifest.expires_at > time.time():
                yield manifest

    def _read_manifest(self, job_id: str) -> Manifest:
        """Read a manifest and check that its body exists; raise `OSError`, `ValueError`."""
        if not 0 < _own_file_size(self._manifest_path(job_id)) <= _MAX_MANIFEST_BYTES:
            raise ValueError("not a regular file of this user, or too large")
        manifest = msgspec.json.decode(self._manifest_path(job_id).read_bytes(), type=Manifest)
        if manifest.id != job_id or manifest.size != _own_file_size(self._folder / job_id):
            raise ValueError("the body is missing or has a different size")
        return manifest


def _own_file_size(file: Path) -> int:
    """Return the size of a regular file of this user; 0 for any other, such as a link or pipe."""
    info = file.lstat()
    return info.st_size if stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid() else 0


def _fsync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
