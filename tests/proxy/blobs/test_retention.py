"""A folder that stays within its lifetime and its bound, and loses nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from proxy.blobs.retention import RetentionSweeper, remove_cache_folder, remove_dead_processes
from tests.support.waiting import until

OWNER = "0123456789abcdef"
NOW = 1_900_000_000.0
GRACE = 600
OWN_CACHE, OTHER_CACHE = "cache/" + "0" * 16, "cache/" + "1" * 16
CACHED = "a" * 64


def sweeper(folder: Path, limit: int = 10_000) -> RetentionSweeper:
    return RetentionSweeper(folder, 3600, limit, clock=lambda: NOW)


def put(folder: Path, name: str, *, age: float = 0, size: int = 100) -> Path:
    """Write a file of an age."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW - age, NOW - age))
    return path


def blob(folder: Path, number: int, **about: float) -> Path:
    size = int(about.get("size", 100))
    return put(folder, f"{OWNER}/{number:032x}.png", age=about.get("age", 0), size=size)


def test_a_blob_goes_when_its_time_is_over_and_answers_have_ended(tmp_path: Path) -> None:
    old = blob(tmp_path, 1, age=3600 + GRACE + 1)
    young = blob(tmp_path, 2, age=3600 + GRACE - 1)
    assert sweeper(tmp_path).sweep() == 100
    assert (old.exists(), young.exists()) == (False, True)


def test_the_oldest_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    blobs = [blob(tmp_path, number, age=number, size=1000) for number in range(12)]
    assert sweeper(tmp_path, limit=10_000).sweep() == 9000
    assert [path.exists() for path in blobs] == [True] * 9 + [False] * 3


def test_nothing_goes_while_there_is_room(tmp_path: Path) -> None:
    blobs = [blob(tmp_path, number, size=1000) for number in range(10)]
    assert sweeper(tmp_path, limit=10_000).sweep() == 10_000
    assert all(path.exists() for path in blobs)


def test_what_an_upload_left_behind_goes_too(tmp_path: Path) -> None:
    left = put(tmp_path, f"{OWNER}/{1:032x}.png#1", age=10_000)
    sweeper(tmp_path).sweep()
    assert not left.exists()


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "blob-signing-key",
        f"{OWNER}/notes.txt",
        f"{OWNER}/{1:032x}.txt",
        f"{OWNER}/{1:031x}.png",
        f"holiday/{1:032x}.png",
        f"{OWNER}/deeper/{1:032x}.png",
        f"{OWNER}/{1:032x}.png/file",
    ],
)
def test_what_is_no_blob_is_left_alone(tmp_path: Path, name: str) -> None:
    mine = put(tmp_path, name, age=1e6, size=20_000)
    assert sweeper(tmp_path).sweep() == 0
    assert mine.exists()


def test_the_places_of_one_image_count_once(tmp_path: Path) -> None:
    first = blob(tmp_path, 1, size=9000)
    for number in (2, 3):
        (tmp_path / OWNER / f"{number:032x}.png").hardlink_to(first)
    assert sweeper(tmp_path, limit=10_000).sweep() == 9000
    assert first.exists()


async def test_what_a_dead_processs_cache_left_is_swept_too(tmp_path: Path) -> None:
    dead = put(tmp_path, f"cache/{'1' * 16}/{'a' * 64}")
    mine = put(tmp_path, f"cache/{'0' * 16}/{'a' * 64}")
    for path in (dead, mine):
        os.utime(path.parent, (0, 0))
    running = asyncio.create_task(sweeper(tmp_path).run(f"cache/{'0' * 16}"))
    assert await until_gone(dead)
    assert mine.exists()
    running.cancel()
    await asyncio.wait([running])


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert sweeper(tmp_path / "none").sweep() == 0


async def until_gone(path: Path) -> bool:
    async with asyncio.timeout(10):
        while path.exists():  # noqa: ASYNC110, ASYNC240 - a file tells nobody that it has gone
            await asyncio.sleep(0.01)
    return True


async def test_it_sweeps_at_once_and_again_when_a_blob_is_too_much(tmp_path: Path) -> None:
    ours = sweeper(tmp_path, limit=10_000)
    first = blob(tmp_path, 1, age=10_000)
    running = asyncio.create_task(ours.run())
    assert await until_gone(first)
    old, new = blob(tmp_path, 2, size=9000, age=5), blob(tmp_path, 3, size=9000)
    ours.account(9000)
    ours.account(9000)
    assert await until_gone(old)
    assert new.exists()
    running.cancel()
    await asyncio.wait([running])


async def test_a_folder_that_cannot_be_read_does_not_end_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(RetentionSweeper):
        def sweep(self) -> int:
            raise PermissionError(13, "Permission denied")

    running = asyncio.create_task(Broken(tmp_path, 3600, 10_000).run())
    with caplog.at_level(logging.ERROR):
        await until(lambda: caplog.records)
    assert not running.done()
    assert [it.getMessage() for it in caplog.records] == [
        "could not sweep the blob folder: Permission denied"
    ]
    running.cancel()
    await asyncio.wait([running])


def put_cached(folder: Path, place: str, age: float = 0) -> Path:
    """Write a file into a folder that nobody has touched for a time."""
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path.parent, (NOW - age, NOW - age))
    return path


def test_a_folder_goes_once_nobody_touches_it(tmp_path: Path) -> None:
    dead = [
        put_cached(tmp_path, f"{OTHER_CACHE}/{name}", 1801)
        for name in (CACHED, f"new-{'b' * 32}#1")
    ]
    alive = put_cached(tmp_path, f"cache/{'2' * 16}/{CACHED}", 1700)
    mine = put_cached(tmp_path, f"{OWN_CACHE}/{CACHED}", 9000)
    remove_dead_processes(tmp_path, [OWN_CACHE], NOW)
    assert not any(path.exists() for path in dead)
    assert not dead[0].parent.exists()
    assert alive.exists()
    assert mine.exists()
    assert mine.parent.stat().st_mtime == NOW


@pytest.mark.parametrize(
    "place",
    [
        f"{OTHER_CACHE}/notes.txt",
        f"cache/shared-easel/{CACHED}",
        f"{OTHER_CACHE}/{CACHED}/file",
        f"x/{CACHED}",
    ],
)
def test_what_is_no_image_of_a_cache_is_left_alone(tmp_path: Path, place: str) -> None:
    mine = put_cached(tmp_path, place, 1e6)
    os.utime(tmp_path / "cache", (0, 0)) if (tmp_path / "cache").exists() else None
    remove_dead_processes(tmp_path, [OWN_CACHE], NOW)
    assert mine.exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    elsewhere = put_cached(tmp_path, f"elsewhere/{CACHED}", 1e6)
    (tmp_path / "cache").mkdir()
    (tmp_path / OTHER_CACHE).symlink_to(elsewhere.parent)
    os.utime(tmp_path / OTHER_CACHE, (0, 0), follow_symlinks=False)
    remove_dead_processes(tmp_path, [OWN_CACHE], NOW)
    assert elsewhere.exists()


def test_a_folder_that_is_not_there_is_clear(tmp_path: Path) -> None:
    remove_cache_folder(tmp_path / "none")
    remove_dead_processes(tmp_path / "none", OWN_CACHE, NOW)
