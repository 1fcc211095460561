"""The log file is its owner's, and lines go on in a new one once it has been moved away."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from proxy.observability.log_file import LogFile


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log = LogFile(str(path))
    log.write("one\n")
    log.close()
    assert path.read_text() == "before\none\n"


def test_a_new_file_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    LogFile(str(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_file_that_was_moved_away_is_followed_by_a_new_one(
    tmp_path: Path, *, is_made_anew: bool
) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    log = LogFile(str(path))
    log.write("one\n")
    path.rename(old)
    if is_made_anew:
        path.write_text("")
    log.write("two\n")
    log.close()
    assert (old.read_text(), path.read_text()) == ("one\n", "two\n")


def test_where_it_cannot_be_opened_anew_the_old_one_gets_the_lines_and_it_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    log = LogFile(str(path))
    path.rename(old)
    path.mkdir()
    log.write("one\n")
    log.write("two\n")
    assert (old.read_text(), len(caplog.records)) == ("one\ntwo\n", 1)
    path.rmdir()
    log.write("three\n")
    log.close()
    assert path.read_text() == "three\n"


def test_several_processes_can_share_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs = [LogFile(str(path)), LogFile(str(path))]
    for number in range(10):
        logs[number % 2].write(f"{number}\n")
    for log in logs:
        log.close()
    assert path.read_text().split() == [str(number) for number in range(10)]


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LogFile(str(tmp_path / "nowhere" / "log"))
