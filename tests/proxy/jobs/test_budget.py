"""The budget: never more than its bounds, and evicted in the documented order."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.jobs.budget import RecordingBudget
from proxy.jobs.recording import Recording

CHUNK = b"x" * 1000


@dataclass(eq=False)
class FakeJob:
    """Something that has a recording."""

    recording: Recording
    budget: RecordingBudget
    listeners: int = 0
    deliveries: int = 0
    evicted: bool = False

    @property
    def has_connected_client(self) -> bool:
        return self.listeners > 0

    def evict(self) -> None:
        self.evicted = True
        self.budget.remove(self)


def add_job(budget: RecordingBudget, folder: Path, name: str, **fields: Any) -> FakeJob:
    job = FakeJob(Recording(budget, folder / name), budget, **fields)
    budget.add(job)
    return job


async def read_all(recording: Recording) -> bytes:
    return b"".join([piece async for piece in recording.chunks()])


async def test_what_memory_cannot_hold_is_moved_to_disk(tmp_path: Path) -> None:
    budget = RecordingBudget(2500, 10_000)
    one = add_job(budget, tmp_path, "one")
    for _ in range(5):
        await one.recording.append(CHUNK)
        assert budget.bytes_in_memory <= 2500
    assert budget.bytes_in_memory + budget.bytes_on_disk == 5000
    one.recording.end()
    assert b"".join([piece async for piece in one.recording.chunks()]) == CHUNK * 5


async def test_what_was_delivered_makes_room_in_memory_and_is_not_written_to_disk(
    tmp_path: Path,
) -> None:
    budget = RecordingBudget(3000, 10_000)
    first, heard, last = (add_job(budget, tmp_path, name, deliveries=1) for name in "abc")
    heard.listeners = 1
    for one in (first, heard, last):
        await one.recording.append(CHUNK)
        one.recording.end()
    more = add_job(budget, tmp_path, "more", listeners=1)
    for _ in range(2):
        await more.recording.append(CHUNK)
    assert [it.evicted for it in (first, heard, last)] == [True, False, True]
    assert budget.bytes_on_disk == 0
    await more.recording.append(CHUNK)
    assert budget.bytes_on_disk > 0


async def test_it_is_evicted_in_order(tmp_path: Path) -> None:
    budget = RecordingBudget(1000, 4000)
    nobodys = add_job(budget, tmp_path, "nobodys")
    waiting = add_job(budget, tmp_path, "waiting")
    delivered = add_job(budget, tmp_path, "delivered", deliveries=1)
    heard = add_job(budget, tmp_path, "heard", listeners=1)
    for one in (nobodys, waiting, delivered, heard):
        await one.recording.append(CHUNK)
    for one in (waiting, delivered):
        one.recording.end()
    reading = asyncio.ensure_future(read_all(heard.recording))
    for count in range(8):
        await heard.recording.append(CHUNK)
        gone = [it.evicted for it in (delivered, waiting, nobodys)]
        assert gone == sorted(gone, reverse=True), count
    assert all(gone)
    heard.recording.end()
    assert await reading == CHUNK * 9


async def test_jobs_take_memory_whatever_they_answer_and_what_has_ended_makes_place(
    tmp_path: Path,
) -> None:
    budget = RecordingBudget(20_000, 10_000, bytes_per_job=100)
    running = [add_job(budget, tmp_path, f"running {i}") for i in range(3)]
    heard = add_job(budget, tmp_path, "heard", listeners=1)
    heard.recording.end()
    waiting = [add_job(budget, tmp_path, str(i), deliveries=i % 2) for i in range(90)]
    for one in waiting:
        await one.recording.append(b"x")
        one.recording.end()
    assert budget.bytes_in_memory == 94 * 100 + 90
    for i in range(1000):
        one = add_job(budget, tmp_path, f"more {i}")
        one.recording.end(ValueError())  # Failed: there is not even an answer.
        assert len(budget._jobs) * 100 <= 10_000
    gone = [it.evicted for it in waiting]
    assert all(gone)
    assert not any(it.evicted for it in (*running, heard))


async def test_of_too_many_jobs_those_go_first_that_were_delivered(tmp_path: Path) -> None:
    budget = RecordingBudget(2000, 0, bytes_per_job=100)
    some = {name: add_job(budget, tmp_path, name, deliveries=name in "cf") for name in "abcdefghij"}
    for one in some.values():
        one.recording.end()
    gone = []
    for name in "klm":
        add_job(budget, tmp_path, name)
        gone.append("".join(name for name, it in some.items() if it.evicted))
    assert gone == ["cf", "cf", "abcf"]


async def test_a_writer_waits_until_somebody_has_read(tmp_path: Path) -> None:
    budget = RecordingBudget(1500, 0)
    one = add_job(budget, tmp_path, "one", listeners=1)
    await one.recording.append(CHUNK)
    writing = asyncio.ensure_future(one.recording.append(CHUNK))
    await asyncio.sleep(0.01)
    assert not writing.done()
    reading = asyncio.ensure_future(read_all(one.recording))
    await asyncio.wait_for(writing, 1)
    one.recording.end()
    assert await reading == CHUNK * 2


async def test_all_who_wait_go_on_at_once_when_there_is_room(tmp_path: Path) -> None:
    budget, may_move = RecordingBudget(60_000, 100_000), threading.Event()

    def prepare() -> None:
        may_move.wait(5)

    budget.prepare_disk = prepare
    large = asyncio.ensure_future(
        add_job(budget, tmp_path, "large").recording.append(b"x" * 60_001)
    )
    await asyncio.sleep(0)
    small = [add_job(budget, tmp_path, str(i), listeners=1).recording for i in range(50)]
    waiting = [asyncio.ensure_future(recording.append(CHUNK)) for recording in small]
    await asyncio.sleep(0)
    assert not any(it.done() for it in waiting)
    may_move.set()
    await large
    for _ in range(3):
        await asyncio.sleep(0)
    assert all(it.done() for it in waiting)


async def test_whoever_waits_is_told_though_another_came_meanwhile(tmp_path: Path) -> None:
    budget = RecordingBudget(1500, 0)
    one, other, small = (add_job(budget, tmp_path, name, listeners=1) for name in "abc")
    await one.recording.append(CHUNK)
    waiting = asyncio.ensure_future(other.recording.append(CHUNK))
    await asyncio.sleep(0)
    await budget.wait_for_memory(small.recording)  # It holds nothing: it need not wait.
    budget.remove(one)
    await asyncio.wait_for(waiting, 1)


async def test_a_full_disk_is_like_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    budget = RecordingBudget(1500, 10_000)
    stored = FakeJob(Recording(budget, tmp_path / "stored"), budget)
    budget.add(stored)
    one = FakeJob(Recording(budget, tmp_path / "file" / "one"), budget, listeners=1)
    budget.add(one)
    reading = asyncio.ensure_future(read_all(one.recording))
    await stored.recording.append(CHUNK)
    stored.recording.end()
    for _ in range(4):
        await one.recording.append(CHUNK)
        assert budget.bytes_in_memory <= 2000
    one.recording.end()
    assert await reading == CHUNK * 4


async def test_what_is_kept_takes_the_room_of_what_was_delivered(tmp_path: Path) -> None:
    budget = RecordingBudget(10_000, 2500)
    old, delivered, new, more = (add_job(budget, tmp_path, name) for name in "abcd")
    for one in (old, delivered, new, more):
        await one.recording.append(CHUNK)
        one.recording.end()
    delivered.deliveries = 1
    budget.mark_delivered(delivered)
    kept = [await budget.flush_to_disk(it) for it in (old, delivered, new, more)]
    assert (kept, budget.bytes_on_disk, delivered.evicted) == (
        [True, True, True, False],
        2000,
        True,
    )


async def test_what_an_earlier_process_left_is_made_to_fit(tmp_path: Path) -> None:
    budget = RecordingBudget(10_000, 2500)
    some = [add_job(budget, tmp_path, name, deliveries=name == "c") for name in "abcd"]
    for one in some:
        one.recording.restore(200, {}, 1000)
    budget.enforce_disk_limit()
    assert [it.evicted for it in some] == [True, False, True, False]


async def test_a_slow_reader_delays_its_own_job_alone(tmp_path: Path) -> None:
    budget = RecordingBudget(1500, 0)
    slow = add_job(budget, tmp_path, "slow", listeners=1)
    quick = add_job(budget, tmp_path, "quick", listeners=1)
    await slow.recording.append(CHUNK)
    waiting = asyncio.ensure_future(slow.recording.append(CHUNK))
    reading = asyncio.ensure_future(read_all(quick.recording))
    for _ in range(5):
        await asyncio.wait_for(quick.recording.append(CHUNK), 1)
    quick.recording.end()
    assert await reading == CHUNK * 5
    assert not waiting.done()
    waiting.cancel()


async def test_what_does_not_fit_on_disk_keeps_nothing_smaller_from_it(tmp_path: Path) -> None:
    budget = RecordingBudget(2500, 1000)
    small, large = (
        add_job(budget, tmp_path, "small"),
        add_job(budget, tmp_path, "large", listeners=1),
    )
    await small.recording.append(CHUNK)
    for _ in range(2):
        await large.recording.append(CHUNK)
    assert (small.evicted, small.recording.bytes_on_disk, large.recording.bytes_in_memory) == (
        False,
        1000,
        2000,
    )
