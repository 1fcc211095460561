"""Every link on the way to a file is known, and the folder in which it can be exchanged."""

from __future__ import annotations

import os
from pathlib import Path

from proxy.reload.symlinks import folders_of, steps_of, traces


def test_a_file_of_its_own_is_the_one_step(tmp_path: Path) -> None:
    here = tmp_path.resolve()
    steps = steps_of([str(here / "a.yaml")])
    assert steps == {here / "a.yaml"}
    assert folders_of(steps) == {here}


def test_links_are_steps_and_so_is_what_they_lead_to(tmp_path: Path) -> None:
    here = tmp_path.resolve()
    (here / "day").mkdir()
    (here / "day/a.yaml").write_text("")
    (here / "..data").symlink_to("day")
    (here / "a.yaml").symlink_to("..data/a.yaml")
    (here / "far").mkdir()
    (here / "far/b.yaml").symlink_to(here / "far/../a.yaml")
    steps = steps_of([str(here / "far/b.yaml")])
    names = ("far/b.yaml", "a.yaml", "..data", "day/a.yaml")
    assert steps == {here / name for name in names}
    assert folders_of(steps) == {here, here / "far", here / "day"}


def test_a_relative_path_is_one_from_here(tmp_path: Path) -> None:
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert steps_of(["a.yaml"]) == {tmp_path.resolve() / "a.yaml"}
    finally:
        os.chdir(before)


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert len(steps_of([str(tmp_path / "a")])) <= 41
    assert traces([str(tmp_path / "a")]) == [None]


def test_folders_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    assert folders_of(steps_of([str(tmp_path / "none/a.yaml")])) == frozenset()


def test_a_trace_is_another_once_the_file_is(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a")
    before = traces([str(file)])
    assert traces([str(file)]) == before
    file.write_text("ab")
    assert traces([str(file)]) != before
