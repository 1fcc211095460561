"""How many workers `auto` is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.workers.cpu_count import cores, count


@pytest.mark.parametrize(
    ("quota", "most"),
    [("max 100000", 4), ("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("", 4)],
)
def test_a_containers_quota_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, most: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    (tmp_path / "cpu.max").write_text(quota)
    assert cores(tmp_path / "cpu.max") == most


def test_only_the_cores_that_this_process_may_use_count(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores(tmp_path / "none") == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("said", "many"), [(3, 3), ("3", 3), ("auto", None)])
def test_a_number_is_a_number_also_as_text(said: int | str, many: int | None) -> None:
    assert count(said) == (many or cores())
