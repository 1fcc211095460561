"""The state directory: readable only by its owner (mode 0700)."""

from __future__ import annotations

from pathlib import Path

_OWNER_ONLY_MODE = 0o700


def ensure_private_dir(folder: Path) -> None:
    """Create a directory and its missing parents, accessible only by their owner.

    An existing directory keeps its mode, because the operator created it. Raises `OSError`.
    """
    # `parents=True` would create the parents with the mode of the process's umask.
    for missing in reversed([it for it in (folder, *folder.parents) if not it.exists()]):
        missing.mkdir(mode=_OWNER_ONLY_MODE, exist_ok=True)
