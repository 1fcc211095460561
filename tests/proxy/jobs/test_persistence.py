"""What one process leaves for the next, and what the next makes of anything else."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.jobs.persistence import Manifest, ResultFolder

ID = "0" * 31 + "1"
GOOD: dict[str, Any] = {
    "id": ID,
    "caller": "ada",
    "digest": b"d" * 32,
    "idempotency_key": "",
    "status": 200,
    "headers": [("content-type", "image/png"), ("content-length", "7")],
    "size": 7,
    "created_at": 1.0,
    "expires_at": 4e9,
}


def write_result(folder: Path, **other: Any) -> Manifest:
    """Leave an answer as an earlier process does."""
    manifest = Manifest(**{**GOOD, **other})
    (folder / manifest.id).write_bytes(b"picture")
    ResultFolder(folder).write(manifest)
    return manifest


def load(folder: Path) -> list[Manifest]:
    handover = ResultFolder(folder)
    try:
        return handover.load()
    finally:
        handover.close()


def file_names(folder: Path) -> set[str]:
    return {it.name for it in folder.iterdir()} - {"lock"}


def test_what_is_written_is_taken_oldest_first_and_stays(tmp_path: Path) -> None:
    new, old = (
        write_result(tmp_path, created_at=2.0),
        write_result(tmp_path, id="2" * 32, created_at=1.0),
    )
    assert load(tmp_path) == load(tmp_path) == [old, new]
    assert file_names(tmp_path) == {ID, f"{ID}.json", "2" * 32, "2" * 32 + ".json"}


def test_all_of_it_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "jobs"
    ResultFolder(folder).lock()
    folder.chmod(0o755)
    write_result(folder)
    load(folder)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / f"{ID}.json")] == [
        0o700,
        0o600,
    ]


def test_a_folder_is_made_only_to_be_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    handover = ResultFolder(folder)
    assert (handover.load(), folder.exists()) == ([], False)
    for _ in range(2):
        handover.lock()
    assert [it.name for it in folder.iterdir()] == ["lock"]
    handover.close()


def test_what_has_expired_goes(tmp_path: Path) -> None:
    write_result(tmp_path, expires_at=time.time() - 1)
    assert (load(tmp_path), file_names(tmp_path)) == ([], set())


def test_what_a_crash_has_left_goes_and_a_strangers_files_do_not(tmp_path: Path) -> None:
    for name in (ID, f"{ID}.new", "notes.txt", "notes.json", f"{ID}.json.bak"):
        (tmp_path / name).write_text("x")
    (tmp_path / ("a" * 32)).mkdir()
    assert load(tmp_path) == []
    assert file_names(tmp_path) == {"notes.txt", "notes.json", f"{ID}.json.bak", "a" * 32}


@pytest.mark.parametrize(
    "other",
    [
        {"id": "../../../../etc/passwd"},
        {"id": "2" * 32},
        {"size": 8},
        {"size": 0},
        {"status": 500},
        {"status": "200"},
        {"created_at": "yesterday"},
        {"deliveries": -1},
        {"more": 1},
        {"headers": [("a", "b\r\nx-evil: 1")]},
        {"headers": [("a b", "c")]},
        {"headers": [("Content-Length", "9")]},
        {"headers": {"a": "b"}},
        {"headers": [["a", "b"]] * 100_000},
        {"caller": None},
    ],
    ids=str,
)
def test_a_manifest_that_is_wrong_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: dict[str, Any]
) -> None:
    good = write_result(tmp_path, id="2" * 32)
    write_result(tmp_path)
    (tmp_path / f"{ID}.json").write_bytes(msgspec.json.encode({**GOOD, **other}))
    assert load(tmp_path) == [good]
    assert file_names(tmp_path) == {good.id, f"{good.id}.json"}
    assert [it.levelno for it in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize(
    "bytes_", [b"", b"\xff", b"[" * 200_000, b'{"created_at":1e999}', b"\0" * 99]
)
def test_garbage_for_a_manifest_stops_nothing(tmp_path: Path, bytes_: bytes) -> None:
    write_result(tmp_path)
    (tmp_path / f"{ID}.json").write_bytes(bytes_)
    assert (load(tmp_path), file_names(tmp_path)) == ([], set())


def test_what_is_no_plain_file_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"sekret!")
    folder = tmp_path / "jobs"
    folder.mkdir()
    write_result(folder)
    (folder / ID).unlink()
    (folder / ID).symlink_to(secret)
    os.mkfifo(folder / f"{'2' * 32}.json")
    assert (load(folder), file_names(folder)) == ([], set())
    assert secret.exists()


def test_nothing_is_taken_or_deleted_while_another_process_uses_the_folder(tmp_path: Path) -> None:
    first, second, third = (ResultFolder(tmp_path) for _ in range(3))
    first.lock()
    write_result(tmp_path)
    (tmp_path / ("2" * 32)).write_bytes(b"running")
    assert second.load() == []
    first.close()
    assert third.load() == []
    assert len(file_names(tmp_path)) == 3
    second.close()
    third.close()
    assert [it.id for it in load(tmp_path)] == [ID]


def test_an_answer_without_its_bytes_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ResultFolder(tmp_path).write(Manifest(**GOOD))
    assert file_names(tmp_path) == set()


def test_what_is_dropped_counts_no_more(tmp_path: Path) -> None:
    write_result(tmp_path)
    for _ in range(2):
        ResultFolder(tmp_path).remove(ID)
    assert (load(tmp_path), file_names(tmp_path)) == ([], set())
