"""The shelf: never more than its bounds, and given up in the documented order."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.jobs.budget import Shelf
from proxy.jobs.recording import Tape

PIECE = b"x" * 1000


@dataclass(eq=False)
class Held:
    """Something that has a tape."""

    tape: Tape
    shelf: Shelf
    listeners: int = 0
    delivered: int = 0
    given_up: bool = False

    @property
    def is_heard(self) -> bool:
        return self.listeners > 0

    def give_up(self) -> None:
        self.given_up = True
        self.shelf.remove(self)


def held(shelf: Shelf, folder: Path, name: str, **kind: Any) -> Held:
    made = Held(Tape(shelf, folder / name), shelf, **kind)
    shelf.add(made)
    return made


async def joined(tape: Tape) -> bytes:
    return b"".join([piece async for piece in tape.pieces()])


async def test_what_memory_cannot_hold_is_moved_to_disk(tmp_path: Path) -> None:
    shelf = Shelf(2500, 10_000)
    one = held(shelf, tmp_path, "one")
    for _ in range(5):
        await one.tape.append(PIECE)
        assert shelf.in_memory <= 2500
    assert shelf.in_memory + shelf.on_disk == 5000
    one.tape.end()
    assert b"".join([piece async for piece in one.tape.pieces()]) == PIECE * 5


async def test_what_was_delivered_makes_room_in_memory_and_is_not_written_to_disk(
    tmp_path: Path,
) -> None:
    shelf = Shelf(3000, 10_000)
    first, heard, last = (held(shelf, tmp_path, name, delivered=1) for name in "abc")
    heard.listeners = 1
    for one in (first, heard, last):
        await one.tape.append(PIECE)
        one.tape.end()
    more = held(shelf, tmp_path, "more", listeners=1)
    for _ in range(2):
        await more.tape.append(PIECE)
    assert [it.given_up for it in (first, heard, last)] == [True, False, True]
    assert shelf.on_disk == 0
    await more.tape.append(PIECE)
    assert shelf.on_disk > 0


async def test_it_is_given_up_in_order(tmp_path: Path) -> None:
    shelf = Shelf(1000, 4000)
    nobodys = held(shelf, tmp_path, "nobodys")
    waiting = held(shelf, tmp_path, "waiting")
    delivered = held(shelf, tmp_path, "delivered", delivered=1)
    heard = held(shelf, tmp_path, "heard", listeners=1)
    for one in (nobodys, waiting, delivered, heard):
        await one.tape.append(PIECE)
    for one in (waiting, delivered):
        one.tape.end()
    reading = asyncio.ensure_future(joined(heard.tape))
    for count in range(8):
        await heard.tape.append(PIECE)
        gone = [it.given_up for it in (delivered, waiting, nobodys)]
        assert gone == sorted(gone, reverse=True), count
    assert all(gone)
    heard.tape.end()
    assert await reading == PIECE * 9


async def test_jobs_take_memory_whatever_they_answer_and_what_has_ended_makes_place(
    tmp_path: Path,
) -> None:
    shelf = Shelf(20_000, 10_000, each=100)
    running = [held(shelf, tmp_path, f"running {i}") for i in range(3)]
    heard = held(shelf, tmp_path, "heard", listeners=1)
    heard.tape.end()
    waiting = [held(shelf, tmp_path, str(i), delivered=i % 2) for i in range(90)]
    for one in waiting:
        await one.tape.append(b"x")
        one.tape.end()
    assert shelf.in_memory == 94 * 100 + 90
    for i in range(1000):
        one = held(shelf, tmp_path, f"more {i}")
        one.tape.end(ValueError())  # Failed: there is not even an answer.
        assert len(shelf._holders) * 100 <= 10_000
    gone = [it.given_up for it in waiting]
    assert all(gone)
    assert not any(it.given_up for it in (*running, heard))


async def test_of_too_many_jobs_those_go_first_that_were_delivered(tmp_path: Path) -> None:
    shelf = Shelf(2000, 0, each=100)
    some = {name: held(shelf, tmp_path, name, delivered=name in "cf") for name in "abcdefghij"}
    for one in some.values():
        one.tape.end()
    gone = []
    for name in "klm":
        held(shelf, tmp_path, name)
        gone.append("".join(name for name, it in some.items() if it.given_up))
    assert gone == ["cf", "cf", "abcf"]


async def test_a_writer_waits_until_somebody_has_read(tmp_path: Path) -> None:
    shelf = Shelf(1500, 0)
    one = held(shelf, tmp_path, "one", listeners=1)
    await one.tape.append(PIECE)
    writing = asyncio.ensure_future(one.tape.append(PIECE))
    await asyncio.sleep(0.01)
    assert not writing.done()
    reading = asyncio.ensure_future(joined(one.tape))
    await asyncio.wait_for(writing, 1)
    one.tape.end()
    assert await reading == PIECE * 2


async def test_all_who_wait_go_on_at_once_when_there_is_room(tmp_path: Path) -> None:
    shelf, may_move = Shelf(60_000, 100_000), threading.Event()

    def prepare() -> None:
        may_move.wait(5)

    shelf.prepare = prepare
    large = asyncio.ensure_future(held(shelf, tmp_path, "large").tape.append(b"x" * 60_001))
    await asyncio.sleep(0)
    small = [held(shelf, tmp_path, str(i), listeners=1).tape for i in range(50)]
    waiting = [asyncio.ensure_future(tape.append(PIECE)) for tape in small]
    await asyncio.sleep(0)
    assert not any(it.done() for it in waiting)
    may_move.set()
    await large
    for _ in range(3):
        await asyncio.sleep(0)
    assert all(it.done() for it in waiting)


async def test_whoever_waits_is_told_though_another_came_meanwhile(tmp_path: Path) -> None:
    shelf = Shelf(1500, 0)
    one, other, small = (held(shelf, tmp_path, name, listeners=1) for name in "abc")
    await one.tape.append(PIECE)
    waiting = asyncio.ensure_future(other.tape.append(PIECE))
    await asyncio.sleep(0)
    await shelf.settle(small.tape)  # It holds nothing: it need not wait.
    shelf.remove(one)
    await asyncio.wait_for(waiting, 1)


async def test_a_full_disk_is_like_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    shelf = Shelf(1500, 10_000)
    parked = Held(Tape(shelf, tmp_path / "parked"), shelf)
    shelf.add(parked)
    one = Held(Tape(shelf, tmp_path / "file" / "one"), shelf, listeners=1)
    shelf.add(one)
    reading = asyncio.ensure_future(joined(one.tape))
    await parked.tape.append(PIECE)
    parked.tape.end()
    for _ in range(4):
        await one.tape.append(PIECE)
        assert shelf.in_memory <= 2000
    one.tape.end()
    assert await reading == PIECE * 4


async def test_what_is_kept_takes_the_room_of_what_was_delivered(tmp_path: Path) -> None:
    shelf = Shelf(10_000, 2500)
    old, delivered, new, more = (held(shelf, tmp_path, name) for name in "abcd")
    for one in (old, delivered, new, more):
        await one.tape.append(PIECE)
        one.tape.end()
    delivered.delivered = 1
    shelf.note(delivered)
    kept = [await shelf.keep(it) for it in (old, delivered, new, more)]
    assert (kept, shelf.on_disk, delivered.given_up) == ([True, True, True, False], 2000, True)


async def test_what_an_earlier_process_left_is_made_to_fit(tmp_path: Path) -> None:
    shelf = Shelf(10_000, 2500)
    some = [held(shelf, tmp_path, name, delivered=name == "c") for name in "abcd"]
    for one in some:
        one.tape.restore(200, {}, 1000)
    shelf.fit()
    assert [it.given_up for it in some] == [True, False, True, False]


async def test_a_slow_reader_delays_its_own_job_alone(tmp_path: Path) -> None:
    shelf = Shelf(1500, 0)
    slow = held(shelf, tmp_path, "slow", listeners=1)
    quick = held(shelf, tmp_path, "quick", listeners=1)
    await slow.tape.append(PIECE)
    waiting = asyncio.ensure_future(slow.tape.append(PIECE))
    reading = asyncio.ensure_future(joined(quick.tape))
    for _ in range(5):
        await asyncio.wait_for(quick.tape.append(PIECE), 1)
    quick.tape.end()
    assert await reading == PIECE * 5
    assert not waiting.done()
    waiting.cancel()


async def test_what_does_not_fit_on_disk_keeps_nothing_smaller_from_it(tmp_path: Path) -> None:
    shelf = Shelf(2500, 1000)
    small, large = held(shelf, tmp_path, "small"), held(shelf, tmp_path, "large", listeners=1)
    await small.tape.append(PIECE)
    for _ in range(2):
        await large.tape.append(PIECE)
    assert (small.given_up, small.tape.on_disk, large.tape.in_memory) == (False, 1000, 2000)
