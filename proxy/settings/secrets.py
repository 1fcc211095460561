"""Secrets that the gateway makes for itself and keeps in its state folder.

Above all the gateway key of a gateway on this machine only, where settings name none.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from proxy.settings.state_dir import make_private

_NAME = "key"
PREFIX = "easel-"
_KEY = re.compile(PREFIX + "[A-Za-z0-9_-]{32}")


def new_key() -> str:
    """Make a gateway key with 192 bits of chance in it."""
    return PREFIX + secrets.token_urlsafe(24)


def local_key(state_dir: str) -> tuple[str, Path]:
    """Give the key that is kept in the state folder, making both when they are not there.

    Raises `OSError` when the folder or the file cannot be used.
    """
    return kept_secret(state_dir, _NAME, _KEY, new_key)


def kept_secret(
    state_dir: str, name: str, form: re.Pattern[str], new: Callable[[], str]
) -> tuple[str, Path]:
    """Give the secret in a file of the state folder; what has not the form is made new.

    The file is readable by its owner only; one that others may read is not trusted but replaced.
    Processes that make it at once all get the one that was first. Raises `OSError` when the folder
    or the file cannot be used.
    """
    folder = Path(state_dir).expanduser()
    make_private(folder)
    path = folder / name
    if path.exists():
        if kept := _kept(path, form):
            return kept, path
        path.unlink(missing_ok=True)
    made = folder / f"{name}.{secrets.token_hex(8)}"
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write((secret := new()) + "\n")
        _put(made, path)
    finally:
        made.unlink(missing_ok=True)
    return _kept(path, form) or secret, path


def _put(made: Path, path: Path) -> None:
    """Have a file elsewhere, whole or not at all, and not in place of another process's."""
    try:
        path.hardlink_to(made)
    except FileExistsError:
        return
    except OSError:  # A file system without hard links.
        made.rename(path)


def _kept(path: Path, form: re.Pattern[str]) -> str:
    """Give what a file holds, if nobody else can read it, and it has the form."""
    try:
        if path.stat().st_mode & 0o077:
            return ""
        kept = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    return kept if form.fullmatch(kept) else ""
