"""A picture on disk that nobody else can find, and that ends with whoever holds it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from adapters.tools.image_header import HEADER_BYTES
from proxy.errors import UpstreamFailed
from proxy.upstream.temp_file import ImageTempFile
from tests.support.gateway import let_go

LARGE = bytes(range(256)) * 2000


def files_in(folder: Path) -> list[str]:
    """Give the files of a folder that are open, with a name or without."""
    found = []
    for it in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # It was closed meanwhile.
            found.append(str(it.readlink()))
    return [place for place in found if place.startswith(str(folder))]


async def test_a_spool_leaves_no_file_open_and_none_behind(tmp_path: Path) -> None:
    spool = ImageTempFile(tmp_path)
    await spool.append(LARGE)
    assert b"".join([piece async for piece in spool.chunks()]) == LARGE
    assert len(files_in(tmp_path)) == 1
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - shorter
    held = [spool]
    del spool
    await let_go(held)
    assert files_in(tmp_path) == []


async def test_its_beginning_stays_at_hand(tmp_path: Path) -> None:
    spool = ImageTempFile(tmp_path)
    for at in range(0, len(LARGE), 50_000):
        await spool.append(LARGE[at : at + 50_000])
    assert (spool.head, spool.length) == (LARGE[:HEADER_BYTES], len(LARGE))


async def test_what_the_disk_has_lost_is_a_picture_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = ImageTempFile(tmp_path)
    await spool.append(LARGE)

    def lost(*_: object) -> bytes:
        raise OSError

    for failing in (lost, lambda *_: b""):
        monkeypatch.setattr(os, "pread", failing)
        with pytest.raises(UpstreamFailed) as caught:
            spool.read_all()
        assert caught.value.code == "picture_lost"
