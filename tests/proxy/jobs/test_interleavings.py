"""Jobs, recordings and the budget under any order of events, with a clock and a disk that we drive.

Whoever reads has a prefix of what the job wrote, and in the end exactly that; bounds hold; writers
wait only for their own readers; nothing is left of what ended.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from proxy.errors import BadRequest, UpstreamFailed
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.job import Job, JobKey
from proxy.jobs.recording import Recording, RecordingTruncated
from proxy.jobs.store import JobStore

MEMORY, DISK = 100, 150
RESULT_TTL = 10.0
MAX_ROUNDS = 10_000
"""Rounds of the loop after which what still runs is taken to run for ever."""


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time passes when it is told to."""

    now = 0.0

    def time(self) -> float:
        return self.now

    @property
    def is_idle(self) -> bool:
        return not self._ready  # type: ignore[attr-defined]  # of the loop's own making


class Disk(ThreadPoolExecutor):
    """Does what is asked of the disk when it is told to, in any order; or fails."""

    def __init__(self) -> None:
        super().__init__(1)
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        asked: Future[Any] = Future()
        self.waiting.append((asked, lambda: fn(*args, **kwargs)))
        return asked

    def work(self, which: int, *, full: bool = False) -> None:
        asked, work = self.waiting.pop(which % len(self.waiting))
        try:
            done = work()
        except OSError as error:
            failure: OSError | None = error
        else:
            failure = OSError("no space left") if full else None
        if asked.cancelled():
            return
        if failure:
            asked.set_exception(failure)
        else:
            asked.set_result(done)


@dataclass
class Script:
    """What a job does, order by order. `settling` is the size of the piece it has just written."""

    number: int
    commands: asyncio.Queue[list[int] | BaseException | None] = field(default_factory=asyncio.Queue)
    written: bytes = b""
    unsettled: int = 0

    async def run(self, recording: Recording) -> None:
        while (order := await self.commands.get()) is not None:
            if isinstance(order, BaseException):
                raise order
            if recording.head is None:
                recording.begin(200, {})
            for size in order:
                await self._write(recording, size)

    async def _write(self, recording: Recording, size: int) -> None:
        at = len(self.written)
        piece = bytes((self.number * 101 + at + i) % 251 for i in range(size))
        self.written += piece
        self.unsettled = size
        try:
            await recording.append(piece)
        finally:
            self.unsettled = 0


@dataclass(eq=False)
class Reader:
    """A client: takes a piece for each turn it is given. `end` is how it ended."""

    job: Job
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    got: bytes = b""
    end: str = ""
    task: asyncio.Task[None] | None = None
    listening: ExitStack = field(default_factory=ExitStack)

    def begin(self) -> None:
        # Counted at once: in the gateway too nothing runs between finding a job and listening.
        self.listening.enter_context(self.job.subscribe(lambda: True))
        self.task = asyncio.ensure_future(self.read())
        self.task.add_done_callback(lambda _: self.listening.close())

    async def read(self) -> None:
        with self.listening:
            if await self.job.recording.wait_for_head() is None:
                self.end = "failed"
                return
            try:
                async with aclosing(self.job.recording.chunks()) as pieces:
                    async for piece in pieces:
                        self.got += piece
                        await self.turns.acquire()
            except RecordingTruncated:
                self.end = "broken off"
            else:
                self.end = "whole"
                self.job.deliveries += 1


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = Clock()
        self.loop_errors: list[str] = []
        self.loop.set_exception_handler(lambda _, told: self.loop_errors.append(told["message"]))
        self.disk = Disk()
        self.loop.set_default_executor(self.disk)
        self.folder = tempfile.TemporaryDirectory()
        self.budget = RecordingBudget(MEMORY, DISK)
        self.jobs = JobStore(self.budget, Path(self.folder.name), result_ttl=RESULT_TTL)
        self.scripts: dict[Job, Script] = {}
        self.readers: list[Reader] = []
        self.unread_by_fault = False

    # What the rules pick from.

    def job(self, which: int) -> Job:
        return list(self.scripts)[which % len(self.scripts)]

    def reader(self, which: int) -> Reader:
        return self.readers[which % len(self.readers)]

    def run(self, what: Coroutine[Any, Any, Any]) -> None:
        self.loop.run_until_complete(what)

    async def turn(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            await asyncio.sleep(0)

    async def idle(self) -> None:
        for _ in range(MAX_ROUNDS):
            await asyncio.sleep(0)
            if self.loop.is_idle:
                return
        raise AssertionError("something runs for ever")

    async def asked(self, asked: JobKey, *, alone: bool) -> None:
        try:
            job = self.jobs.find(asked)
        except BadRequest:
            return
        if job is None:
            script = Script(len(self.scripts))
            job = self.jobs.start(asked, script.run)
            self.scripts[job] = script
        else:
            assert job.recording.is_replayable
        if not alone:
            self.readers.append(Reader(job))
            self.readers[-1].begin()

    async def ordered(self, which: int, order: list[int] | BaseException | None) -> None:
        self.scripts[self.job(which)].commands.put_nowait(order)

    any_one = st.integers(0, 30)
    has_jobs = precondition(lambda self: self.scripts)
    has_readers = precondition(lambda self: self.readers)
    disk_is_asked = precondition(lambda self: self.disk.waiting)

    # What can happen.

    @initialize(alone=st.lists(st.booleans(), min_size=2, max_size=4))
    def begin(self, alone: list[bool]) -> None:
        for is_alone in alone:
            self.run(self.asked(JobKey("ada", b"a"), alone=is_alone))

    @rule(
        digest=st.sampled_from([b"a", b"b"]),
        key=st.sampled_from(["", "", "k"]),
        retry=st.booleans(),
        shares=st.booleans(),
        alone=st.booleans(),
    )
    def ask(self, digest: bytes, key: str, *, retry: bool, shares: bool, alone: bool) -> None:
        self.run(
            self.asked(JobKey("ada", digest, key, is_retry=retry, coalesce=shares), alone=alone)
        )

    @has_jobs
    @rule(which=any_one, sizes=st.lists(st.integers(20, 60), min_size=1, max_size=4))
    def write(self, which: int, sizes: list[int]) -> None:
        self.run(self.ordered(which, sizes))

    @has_jobs
    @rule(which=any_one)
    def end_well(self, which: int) -> None:
        self.run(self.ordered(which, None))

    @has_jobs
    @rule(which=any_one)
    def fail(self, which: int) -> None:
        self.run(self.ordered(which, UpstreamFailed("no")))

    @has_jobs
    @rule(which=any_one)
    def delete(self, which: int) -> None:
        async def deleted() -> None:
            self.jobs.remove(self.job(which))

        self.run(deleted())

    @has_readers
    @rule(which=any_one)
    def read_on(self, which: int) -> None:
        self.reader(which).turns.release()
        self.run(self.turn())

    @has_readers
    @rule(which=any_one)
    def leave(self, which: int) -> None:
        async def left() -> None:
            task = self.reader(which).task
            assert task
            task.cancel()

        self.run(left())

    @rule(rounds=st.integers(1, 8))
    def pass_rounds(self, rounds: int) -> None:
        self.run(self.turn(rounds))

    @rule(seconds=st.sampled_from([1.0, RESULT_TTL + 1]))
    def pass_time(self, seconds: float) -> None:
        self.loop.now += seconds
        self.run(self.turn(3))

    @disk_is_asked
    @rule(which=any_one)
    def disk_works(self, which: int) -> None:
        self.disk.work(which)
        self.run(self.turn())

    @disk_is_asked
    @rule(which=any_one)
    def disk_is_full(self, which: int) -> None:
        self.unread_by_fault = True
        self.disk.work(which, full=True)
        self.run(self.turn())

    @rule()
    def come_to_rest(self) -> None:
        self._rest()
        for job, script in self.scripts.items():
            if script.unsettled:
                own = [it for it in self.readers if it.job is job and not it.end]
                assert any(len(it.got) < len(script.written) for it in own)

    def _rest(self) -> None:
        self.run(self.idle())
        while self.disk.waiting:
            self.disk.work(0)
            self.run(self.idle())

    # What always holds.

    @invariant()
    def readers_have_a_prefix_and_in_the_end_all(self) -> None:
        for reader in self.readers:
            job, written = reader.job, self.scripts[reader.job].written
            assert written.startswith(reader.got)
            if reader.end == "whole":
                assert reader.got == written
                assert job.recording.ended
                assert job.recording.failure is None
            if reader.end == "broken off" and not self.unread_by_fault:
                gone = self.jobs.get_for_caller("ada", job.id) is None
                assert gone or job.recording.failure is not None

    @invariant()
    def the_budget_counts_what_recordings_hold(self) -> None:
        recordings = [job.recording for job in self.scripts]
        for recording in recordings:
            held = sum(len(part) for part in recording._parts if isinstance(part, bytes))
            assert recording.bytes_in_memory == held
        assert self.budget.bytes_in_memory == sum(
            recording.bytes_in_memory for recording in recordings
        )
        assert self.budget.bytes_on_disk == sum(recording.bytes_on_disk for recording in recordings)
        for job in self.scripts:
            if self.jobs.get_for_caller("ada", job.id) is None:
                assert (job.recording.bytes_in_memory, job.recording.bytes_on_disk) == (0, 0)

    @invariant()
    def bounds_hold(self) -> None:
        settling = sum(script.unsettled for script in self.scripts.values())
        assert self.budget.bytes_in_memory <= MEMORY + settling
        assert self.budget.bytes_on_disk <= DISK

    def teardown(self) -> None:
        try:
            self._all_ends()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.run(self.idle())
            self.loop.close()
            self.folder.cleanup()

    def _all_ends(self) -> None:
        for script in self.scripts.values():
            script.commands.put_nowait(None)
        for reader in self.readers:
            for _ in range(1000):
                reader.turns.release()
        self._rest()
        self.readers_have_a_prefix_and_in_the_end_all()
        assert all(reader.task and reader.task.done() for reader in self.readers)
        self.loop.now += RESULT_TTL + 1
        self._rest()
        assert (len(self.jobs), self.jobs.running_count) == (0, 0)
        assert (self.budget.bytes_in_memory, self.budget.bytes_on_disk) == (0, 0)
        assert not self.budget._jobs
        assert not any((self.jobs._by_digest, self.jobs._by_key, self.jobs._expirations))
        assert {it.name for it in Path(self.folder.name).iterdir()} <= {"lock"}
        assert not asyncio.all_tasks(self.loop)
        assert not self.loop_errors


Interleavings.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestInterleavings = Interleavings.TestCase
