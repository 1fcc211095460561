"""Recordings: what is read is a prefix of what was written, and in the end exactly that."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.jobs.budget import RecordingBudget
from proxy.jobs.recording import Recording, RecordingTruncated
from tests.support.gateway import let_go

LARGE = 1 << 30


def make_recording(folder: Path) -> Recording:
    return Recording(RecordingBudget(LARGE, LARGE), folder / "recording")


async def read_all(recording: Recording) -> bytes:
    return b"".join([piece async for piece in recording.chunks()])


async def _read_and_discard(recording: Recording) -> None:
    async for piece in recording.chunks():
        del piece


async def test_whoever_comes_late_reads_from_the_first_byte_on(tmp_path: Path) -> None:
    one = make_recording(tmp_path)
    one.begin(200, {"content-type": "text/plain"})
    early = asyncio.ensure_future(read_all(one))
    await one.append(b"a")
    await asyncio.sleep(0)
    late = asyncio.ensure_future(read_all(one))
    await one.append(b"b")
    one.end()
    assert await early == await late == await read_all(one) == b"ab"


async def test_a_part_on_disk_is_read_like_one_in_memory(tmp_path: Path) -> None:
    one = make_recording(tmp_path)
    for piece in (b"a" * 300_000, b"b"):
        await one.append(piece)
    await one.spill()
    await one.append(b"c")
    await one.spill()
    await one.append(b"d")
    one.end()
    assert (one.bytes_in_memory, one.bytes_on_disk) == (1, 300_002)
    assert await read_all(one) == b"a" * 300_000 + b"bcd"
    assert (tmp_path / "recording").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("readers", "step"), [(1, 256), (192, 256), (768, 64), (1536, 32), (9999, 32)]
)
async def test_the_more_there_are_who_read_the_less_each_reads_from_disk_at_once(
    tmp_path: Path, readers: int, step: int
) -> None:
    one = make_recording(tmp_path)
    await one.append(b"x" * 1_000_000)
    await one.spill()
    one.end()
    one._budget.readers = readers - 1
    sizes = [len(piece) async for piece in one.chunks()]
    assert sum(sizes) == 1_000_000
    assert max(sizes) == step * 1024
    assert one._budget.readers == readers - 1


async def test_what_lies_on_disk_takes_one_part_whatever_it_was_written_in(tmp_path: Path) -> None:
    one = make_recording(tmp_path)
    for i in range(50):
        await one.append(b"%03d" % i)
        if i % 3 == 0:
            await one.spill()
    one.end()
    await one.spill()
    assert [len(part) for part in one._parts if isinstance(part, bytes)] == [0] * 49
    assert await read_all(one) == b"".join(b"%03d" % i for i in range(50))


@given(steps=st.lists(st.sampled_from("wwwmrrnt"), max_size=40))
@settings(max_examples=200, deadline=None)
async def test_however_it_is_moved_between_reads_everybody_reads_all_of_it(steps: str) -> None:
    """Write, move, read on with every reader, begin a new one, or give up what all have read."""
    with tempfile.TemporaryDirectory() as folder:
        one = make_recording(Path(folder))
        whole, written = b"", 0
        readers: list[tuple[AsyncGenerator[bytes, None], list[bytes]]] = []
        for step in steps:
            if step == "w":
                written += 1
                whole += (piece := b"%02d" % written)
                await one.append(piece)
            elif step == "m":
                await one.spill()
            elif step == "n" and one.is_replayable:
                readers.append((one.chunks(), []))
            elif step == "t" and all(got for _, got in readers):
                one.drop_consumed()
            else:
                for reader, got in readers:
                    if sum(map(len, got)) < len(whole):
                        got.append(await anext(reader))
        one.end()
        for reader, got in readers:
            try:
                got += [piece async for piece in reader]
            except RecordingTruncated:
                assert not got
                continue
            assert b"".join(got) == whole
        one.discard()


async def test_whoever_waits_for_more_holds_nothing_that_was_moved(tmp_path: Path) -> None:
    one = make_recording(tmp_path)
    pieces = [bytes(1000)]
    await one.append(pieces[0])
    reading = asyncio.ensure_future(_read_and_discard(one))
    await asyncio.sleep(0)
    await one.spill()
    await let_go(pieces)
    one.end()
    await reading


async def test_the_head_can_be_waited_for_and_may_never_come(tmp_path: Path) -> None:
    one, other = make_recording(tmp_path), make_recording(tmp_path)
    waiting = [asyncio.ensure_future(it.wait_for_head()) for it in (one, other)]
    await asyncio.sleep(0)
    one.begin(201, {"a": "b"})
    other.end(ValueError())
    head, none = await asyncio.gather(*waiting)
    assert head
    assert (head.status, head.headers["A"], none) == (201, "b", None)


async def test_an_answer_that_broke_off_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    one = make_recording(tmp_path)
    await one.append(b"a")
    one.end(ValueError())
    with pytest.raises(RecordingTruncated):
        await read_all(one)


async def test_what_all_have_read_can_be_evicted_and_then_nobody_joins(tmp_path: Path) -> None:
    one = make_recording(tmp_path)
    await one.append(b"a")
    reading = one.chunks()
    assert await anext(reading) == b"a"
    assert one.drop_consumed() == 1
    await one.append(b"b")
    assert await anext(reading) == b"b"
    assert not one.is_replayable
    with pytest.raises(RecordingTruncated):
        await read_all(one)


@pytest.mark.parametrize(("size", "failure"), [(0, None), (40_000, None), (2, ValueError())])
async def test_only_what_ended_well_and_is_short_can_be_had_at_once(
    size: int, failure: Exception | None, tmp_path: Path
) -> None:
    short, other = make_recording(tmp_path), make_recording(tmp_path)
    for piece in (b"a", b"b"):
        await short.append(piece)
    await other.append(b"a" * size)
    assert short.short_body is None
    short.end()
    other.end(failure)
    assert [one.short_body for one in (short, other)] == [b"ab", None]
    await short.spill()
    assert short.short_body is None


async def test_a_file_that_is_gone_breaks_the_answer_off(tmp_path: Path) -> None:
    one = make_recording(tmp_path)
    await one.append(b"a")
    await one.spill()
    one.end()
    (tmp_path / "recording").unlink()
    with pytest.raises(RecordingTruncated):
        await read_all(one)


async def test_what_is_forgotten_while_it_is_moved_leaves_nothing(tmp_path: Path) -> None:
    budget = RecordingBudget(LARGE, LARGE)
    one = Recording(budget, tmp_path / "recording")
    await one.append(b"a" * 1000)
    moving = asyncio.ensure_future(one.spill())
    await asyncio.sleep(0)
    one.discard()
    await moving
    assert (budget.bytes_in_memory, budget.bytes_on_disk) == (0, 0)
    assert not (tmp_path / "recording").exists()


async def test_an_earlier_process_can_have_written_it(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(b"abc")
    one = make_recording(tmp_path)
    one.restore(200, {}, 3)
    assert await read_all(one) == b"abc"
    one.discard()
    assert not (tmp_path / "recording").exists()


async def test_a_move_goes_on_when_whoever_wanted_it_is_cancelled(tmp_path: Path) -> None:
    one = make_recording(tmp_path)
    await one.append(b"a")
    moving = asyncio.ensure_future(one.spill())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    moving.cancel()
    await one.append(b"b")
    await one.spill()
    one.end()
    assert (one.bytes_in_memory, one.bytes_on_disk, await read_all(one)) == (0, 2, b"ab")


async def test_nothing_is_held_of_what_is_written_after_it_was_forgotten(tmp_path: Path) -> None:
    one = make_recording(tmp_path)
    one.discard()
    await one.append(b"a")
    one.end()
    assert one._budget.bytes_in_memory == 0
    with pytest.raises(RecordingTruncated):
        await read_all(one)


async def test_only_what_the_disk_has_room_for_is_moved(tmp_path: Path) -> None:
    one = Recording(RecordingBudget(LARGE, 2), tmp_path / "recording")
    for piece in (b"a", b"b", b"c"):
        await one.append(piece)
    await one.spill()
    one.end()
    assert (one.bytes_in_memory, one.bytes_on_disk, await read_all(one)) == (1, 2, b"abc")


async def test_a_failed_move_that_nobody_waits_for_complains_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    one = Recording(RecordingBudget(LARGE, LARGE), tmp_path / "file" / "recording")
    await one.append(b"a")
    moving = asyncio.ensure_future(one.spill())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    moving.cancel()
    with pytest.raises(OSError, match="file"):
        await one.spill()
    gc.collect()
    assert (one.bytes_in_memory, one.bytes_on_disk, caplog.records) == (1, 0, [])
