"""Unnamed temporary files: gone with their last reference."""

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
    """Return the open files of a folder, with a name or without."""
    found = []
    for it in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # It was closed meanwhile.
            found.append(str(it.readlink()))
    return [place for place in found if place.startswith(str(folder))]


async def test_the_file_is_closed_and_gone_with_its_last_reference(tmp_path: Path) -> None:
    file = ImageTempFile(tmp_path)
    await file.append(LARGE)
    assert b"".join([piece async for piece in file.chunks()]) == LARGE
    assert len(files_in(tmp_path)) == 1
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - shorter
    held = [file]
    del file
    await let_go(held)
    assert files_in(tmp_path) == []


async def test_the_first_bytes_stay_in_memory(tmp_path: Path) -> None:
    file = ImageTempFile(tmp_path)
    for at in range(0, len(LARGE), 50_000):
        await file.append(LARGE[at : at + 50_000])
    assert (file.head, file.length) == (LARGE[:HEADER_BYTES], len(LARGE))


async def test_a_read_error_is_a_lost_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ImageTempFile(tmp_path)
    await file.append(LARGE)

    def lost(*_: object) -> bytes:
        raise OSError

    for failing in (lost, lambda *_: b""):
        monkeypatch.setattr(os, "pread", failing)
        with pytest.raises(UpstreamFailed) as caught:
            file.read_all()
        assert caught.value.code == "picture_lost"
