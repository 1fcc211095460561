"""The way to a file: where what it holds can be changed, itself and every link that leads to it.

A ConfigMap of Kubernetes is a link to a folder of the day, `..data`: its files change by one rename
beside them, and not in themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_MOST_LINKS = 40
"""As many as Linux follows."""


def steps_of(files: Iterable[str]) -> frozenset[Path]:
    """Give files and the links on the way to them; to their folders no link leads any more."""
    return frozenset(step for file in files for step in _on_the_way(file))


def folders_of(steps: Iterable[Path]) -> frozenset[Path]:
    """Give the folders in which steps lie, those that are there."""
    return frozenset(filter(Path.is_dir, (step.parent for step in steps)))


def _on_the_way(file: str) -> set[Path]:
    at, todo = Path("/"), list(Path(file).absolute().parts[1:])
    steps: set[Path] = set()
    links = 0
    while todo and links <= _MOST_LINKS:
        step = at / todo.pop(0)
        if step.name == "..":
            at = at.parent
        elif step.is_symlink():
            steps.add(step)
            links += 1
            target = step.readlink()
            at = Path("/") if target.is_absolute() else at
            todo[:0] = target.parts[target.is_absolute() :]
        else:
            at = step
    return {*steps, at}


def traces(files: Iterable[str]) -> list[tuple[int, int, int, int] | None]:
    """Give what is cheap to know of files, and is another when they have changed."""
    return [_trace(file) for file in files]


def _trace(file: str) -> tuple[int, int, int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
