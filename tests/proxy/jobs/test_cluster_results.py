"""Finished answers in the store: whole, and gone when they are given up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.blobs.store import Blobs
from proxy.errors import BlobStoreFailed
from proxy.jobs.budget import Shelf
from proxy.jobs.cluster_results import Answers
from proxy.jobs.recording import BrokenOffError, Tape
from proxy.settings.loader import embedded

MB = 1024 * 1024
NAME = "a" * 32


def answers(folder: Path) -> Answers:
    return Answers(Blobs(replace(embedded({}), state_dir=str(folder))))


async def tape(folder: Path, *pieces: bytes) -> Tape:
    made = Tape(Shelf(64 * MB, 0), folder / "tape")
    made.begin(200, {})
    for piece in pieces:
        await made.append(piece)
    made.end()
    return made


async def test_an_answer_is_read_from_anywhere_in_it(tmp_path: Path) -> None:
    kept, body = answers(tmp_path), b"ab" * MB
    await kept.put(NAME, await tape(tmp_path, body[:5], body[5:]))
    assert await kept.size(NAME) == len(body)
    assert b"".join([it async for it in kept.pieces(NAME, 0, len(body))]) == body
    assert b"".join([it async for it in kept.pieces(NAME, MB + 1, len(body))]) == body[MB + 1 :]


async def test_an_answer_that_was_given_up_is_not_there(tmp_path: Path) -> None:
    kept = answers(tmp_path)
    await kept.put(NAME, await tape(tmp_path, b"abc"))
    await kept.delete(NAME)
    await kept.delete(NAME)
    assert await kept.size(NAME) is None
    with pytest.raises(BlobStoreFailed):
        _ = [it async for it in kept.pieces(NAME, 0, 3)]


async def test_what_was_given_up_before_it_was_stored_is_not_stored(tmp_path: Path) -> None:
    kept, gone = answers(tmp_path), await tape(tmp_path, b"abc")
    gone.forget()
    with pytest.raises(BrokenOffError):
        await kept.put(NAME, gone)
    assert await kept.size(NAME) is None
