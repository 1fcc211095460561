"""Each line is yielded once, complete and in order, also across a rotation."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.cli.tail import read_lines, tail


class Writer:
    """Performs one action per wait; after the last one it raises `KeyboardInterrupt`."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        self._acts = iter(acts)

    def wait(self, seconds: float) -> None:
        del seconds
        try:
            act = next(self._acts)
        except StopIteration:
            raise KeyboardInterrupt from None
        act()


def all_of(lines: Iterator[str]) -> list[str]:
    found: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(_collect(lines, found))
    return found


def _collect(lines: Iterator[str], found: list[str]) -> Iterator[str]:
    for line in lines:
        found.append(line)
        yield from ()


def append(path: Path, text: str) -> Callable[[], object]:
    def act() -> None:
        with path.open("a") as file:
            file.write(text)

    return act


def test_the_last_line_of_what_has_an_end_may_lack_its_line_break() -> None:
    assert list(read_lines(io.BytesIO(b"one\ntwo"))) == ["one", "two"]
    assert list(read_lines(io.BytesIO(b""))) == []


def test_a_line_that_comes_in_parts_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntw")
    writer = Writer(append(path, "o"), append(path, "\nthree\n"))
    assert all_of(tail(str(path), writer.wait)) == ["one", "two", "three"]


def test_a_rotation_loses_nothing_and_gives_nothing_twice(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    path.write_text("one\n")
    writer = Writer(
        lambda: path.rename(old),
        append(old, "two\n"),
        append(path, "three\n"),
        append(path, "four\n"),
    )
    assert all_of(tail(str(path), writer.wait)) == ["one", "two", "three", "four"]


def test_what_is_written_to_the_old_file_last_is_read_before_the_new_one(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    path.write_text("")

    def rotate() -> None:
        path.rename(old)
        append(old, "one\n")()
        append(path, "two\n")()

    assert all_of(tail(str(path), Writer(rotate, lambda: None).wait)) == ["one", "two"]


def test_a_file_that_is_cut_short_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    writer = Writer(lambda: path.write_text(""), append(path, "two\n"))
    assert all_of(tail(str(path), writer.wait)) == ["one", "two"]


def test_a_file_need_not_be_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(append(path, "one\n"), lambda: None)
    assert all_of(tail(str(path), writer.wait)) == ["one"]


def test_of_a_long_file_only_the_last_whole_lines_are_given(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{number:09}\n" for number in range(20_000)))
    found = all_of(tail(str(path), Writer().wait))
    assert found[-1] == f"{19_999:09}"
    assert 1000 < len(found) < 10_000
    assert {len(line) for line in found} == {9}


def test_a_line_without_an_end_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 5_000_000 + b"\none\n")
    with path.open("rb") as file:
        assert list(read_lines(file)) == ["one"]


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert list(read_lines(io.BytesIO(b"\xff\n"))) == ["\ufffd"]
