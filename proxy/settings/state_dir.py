"""The state folder, and what lies in it: for its owner's eyes only."""

from __future__ import annotations

from pathlib import Path

_OWNER_ONLY_MODE = 0o700


def ensure_private_dir(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for nobody but its owner.

    One that is there is left as it is: the operator made it. Raises `OSError`.
    """
    # Not by `parents=True`: what that makes is as open as the process's umask lets it be.
    for missing in reversed([it for it in (folder, *folder.parents) if not it.exists()]):
        missing.mkdir(mode=_OWNER_ONLY_MODE, exist_ok=True)
