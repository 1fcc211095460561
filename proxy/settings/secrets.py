"""Secrets that the gateway makes for itself and keeps in its state folder.

Above all the gateway key of a gateway on this machine only, where settings name none.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from proxy.settings.state_dir import ensure_private_dir

_LOCAL_KEY_FILE = "key"
KEY_PREFIX = "easel-"
_KEY = re.compile(KEY_PREFIX + "[A-Za-z0-9_-]{32}")


def generate_key() -> str:
    """Make a gateway key with 192 bits of chance in it."""
    return KEY_PREFIX + secrets.token_urlsafe(24)


def load_or_create_local_key(state_dir: str) -> tuple[str, Path]:
    """Give the key that is kept in the state folder, making both when they are not there.

    Raises `OSError` when the folder or the file cannot be used.
    """
    return load_or_create_secret(state_dir, _LOCAL_KEY_FILE, _KEY, generate_key)


def load_or_create_secret(
    state_dir: str, name: str, pattern: re.Pattern[str], generate: Callable[[], str]
) -> tuple[str, Path]:
    """Give the secret in a file of the state folder; what has not the form is made new.

    The file is readable by its owner only; one that others may read is not trusted but replaced.
    Processes that make it at once all get the one that was first. Raises `OSError` when the folder
    or the file cannot be used.
    """
    folder = Path(state_dir).expanduser()
    ensure_private_dir(folder)
    path = folder / name
    if path.exists():
        if secret_in_file := _read_private(path, pattern):
            return secret_in_file, path
        path.unlink(missing_ok=True)
    temporary = folder / f"{name}.{secrets.token_hex(8)}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write((secret := generate()) + "\n")
        _publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return _read_private(path, pattern) or secret, path


def _publish(made: Path, path: Path) -> None:
    """Have a file elsewhere, whole or not at all, and not in place of another process's."""
    try:
        path.hardlink_to(made)
    except FileExistsError:
        return
    except OSError:  # A file system without hard links.
        made.rename(path)


def _read_private(path: Path, pattern: re.Pattern[str]) -> str:
    """Give what a file holds, if nobody else can read it, and it has the form."""
    try:
        if path.stat().st_mode & 0o077:
            return ""
        kept = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    return kept if pattern.fullmatch(kept) else ""
