"""What dead processes left goes; what is alive, or is none of ours, stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.blobs.leftovers import clear, clear_others

NOW = 1_900_000_000.0
OURS, OTHER = "cache/" + "0" * 16, "cache/" + "1" * 16
NAME = "a" * 64


def put(folder: Path, place: str, age: float = 0) -> Path:
    """Write a file into a folder that nobody has touched for a time."""
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path.parent, (NOW - age, NOW - age))
    return path


def test_a_folder_goes_once_nobody_touches_it(tmp_path: Path) -> None:
    dead = [put(tmp_path, f"{OTHER}/{name}", 1801) for name in (NAME, f"new-{'b' * 32}#1")]
    alive = put(tmp_path, f"cache/{'2' * 16}/{NAME}", 1700)
    mine = put(tmp_path, f"{OURS}/{NAME}", 9000)
    clear_others(tmp_path, [OURS], NOW)
    assert not any(path.exists() for path in dead)
    assert not dead[0].parent.exists()
    assert alive.exists()
    assert mine.exists()
    assert mine.parent.stat().st_mtime == NOW


@pytest.mark.parametrize(
    "place",
    [f"{OTHER}/notes.txt", f"cache/shared-easel/{NAME}", f"{OTHER}/{NAME}/file", f"x/{NAME}"],
)
def test_what_is_no_picture_of_a_cache_is_left_alone(tmp_path: Path, place: str) -> None:
    mine = put(tmp_path, place, 1e6)
    os.utime(tmp_path / "cache", (0, 0)) if (tmp_path / "cache").exists() else None
    clear_others(tmp_path, [OURS], NOW)
    assert mine.exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    elsewhere = put(tmp_path, f"elsewhere/{NAME}", 1e6)
    (tmp_path / "cache").mkdir()
    (tmp_path / OTHER).symlink_to(elsewhere.parent)
    os.utime(tmp_path / OTHER, (0, 0), follow_symlinks=False)
    clear_others(tmp_path, [OURS], NOW)
    assert elsewhere.exists()


def test_a_folder_that_is_not_there_is_clear(tmp_path: Path) -> None:
    clear(tmp_path / "none")
    clear_others(tmp_path / "none", OURS, NOW)
