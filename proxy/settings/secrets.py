"""Secrets that the gateway generates and stores in its state directory.

The main one is the gateway key of a gateway that only this machine can reach and whose settings
have no API keys.
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
    """Generate a gateway key with 192 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(24)


def load_or_create_local_key(state_dir: str) -> tuple[str, Path]:
    """Return the key in the state directory and its file, creating both if they are missing.

    Raises `OSError` if the directory or the file cannot be used.
    """
    return load_or_create_secret(state_dir, _LOCAL_KEY_FILE, _KEY, generate_key)


def load_or_create_secret(
    state_dir: str, name: str, pattern: re.Pattern[str], generate: Callable[[], str]
) -> tuple[str, Path]:
    """Return the secret in a file of the state directory, and the file's path.

    A missing secret, or one that does not match `pattern`, is generated. The file is readable by
    its owner only; one that others can read is not trusted and is replaced. Processes that create
    it concurrently all get the first one. Raises `OSError` if the directory or the file cannot be
    used.
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
    """Move a complete file to its path, unless another process has been faster."""
    try:
        path.hardlink_to(made)
    except FileExistsError:
        return
    except OSError:  # The file system has no hard links.
        made.rename(path)


def _read_private(path: Path, pattern: re.Pattern[str]) -> str:
    """Return a file's secret, or "" if others can read the file or the secret is malformed."""
    try:
        if path.stat().st_mode & 0o077:
            return ""
        kept = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    return kept if pattern.fullmatch(kept) else ""
