"""The state directory is accessible only by its owner."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.jobs.persistence import ResultFolder
from proxy.settings.secrets import load_or_create_local_key
from proxy.settings.state_dir import ensure_private_dir
from proxy.upstream.temp_file import ImageTempFile


def _mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def test_every_folder_that_was_missing_is_its_owners(tmp_path: Path) -> None:
    ensure_private_dir(tmp_path / "state" / "jobs" / "more")
    folders = [tmp_path / "state", tmp_path / "state/jobs", tmp_path / "state/jobs/more"]
    assert list(map(_mode, folders)) == [0o700] * 3


def test_a_folder_that_is_there_stays_as_the_operator_made_it(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o750)
    ensure_private_dir(tmp_path / "state" / "jobs")
    assert (_mode(tmp_path / "state"), _mode(tmp_path / "state/jobs")) == (0o750, 0o700)


def test_what_stands_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(OSError, match="Not a directory"):
        ensure_private_dir(tmp_path / "state" / "jobs")


def test_whoever_makes_the_state_folder_makes_it_private(tmp_path: Path) -> None:
    ResultFolder(tmp_path / "a" / "jobs").lock()
    load_or_create_local_key(str(tmp_path / "b" / "c"))
    asyncio.run(ImageTempFile(tmp_path / "d" / "e").append(b"image"))
    assert [_mode(it) for it in sorted(tmp_path.iterdir())] == [0o700] * 3
