"""The board: who follows whom, told by what is shared alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import BadRequest, Overloaded
from proxy.jobs.budget import Shelf
from proxy.jobs.cluster_record import Failure, Record
from proxy.jobs.directory import Board, Bounds
from proxy.jobs.recording import Tape
from proxy.jobs.store import Asked, Job, Jobs
from proxy.state.memory import Memory
from proxy.state.ops import Op, SharedAway

MB = 1024 * 1024


class Node:
    """A process with a board, and jobs that run until they are cancelled."""

    def __init__(self, shared: Any, folder: Path, bounds: Bounds | None = None) -> None:
        self.jobs = Jobs(Shelf(MB, 0), folder, park_seconds=60)
        self.board = Board(shared, self.jobs, bounds or Bounds(9, 60))

    def begin(self, asked: Asked) -> Job:
        async def forever(_: Tape) -> None:
            await asyncio.Event().wait()

        return self.jobs.begin(asked, forever)

    async def claim(self, asked: Asked, **about: Any) -> tuple[Job, str | None]:
        job = self.begin(asked)
        return job, await self.board.claim(job, self.record(job, **about))

    def record(self, job: Job, **about: Any) -> Record:
        asked = job.asked
        return Record(asked.caller, asked.digest, self.board.process, job.began, **about)


def asked(prompt: int = 1, **about: Any) -> Asked:
    return Asked("test", bytes([prompt]) * 32, **about)


class Away:
    """What is shared, when it is away."""

    async def ask(self, *ops: Op) -> Sequence[Any]:
        del ops
        raise SharedAway


async def test_a_retry_follows_the_job_that_lost_its_client(tmp_path: Path) -> None:
    memory = Memory()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    await one.board.beat()
    await one.claim(asked())
    lost, _ = await one.claim(asked(), left=True)
    _, other = await two.claim(asked(retry=True))
    assert other == lost.id
    assert await one.board.beat() == (True, [("taken", lost.id)])
    await one.jobs.close()
    await two.jobs.close()


async def test_nobody_follows_what_another_caller_asked_for(tmp_path: Path) -> None:
    memory = Memory()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    await one.claim(asked(key="k"), left=True)
    stranger = Asked("other", asked().digest, retry=True)
    keyed = Asked("other", asked().digest, key="k")
    assert [(await two.claim(it))[1] for it in (stranger, keyed)] == ["", ""]
    await one.jobs.close()
    await two.jobs.close()


async def test_a_name_is_free_again_once_its_job_failed(tmp_path: Path) -> None:
    memory = Memory()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    job, _ = await one.claim(asked(key="k"))
    other = await two.claim(asked(key="k"))
    failed = one.record(job, state="failed", failure=Failure.of(BadRequest("x"), doubt=False))
    await one.board.write([(job.id, failed, 60)])
    anew, first = await two.claim(asked(key="k"))
    _, second = await one.claim(asked(key="k"))
    assert (other[1], first, second) == (job.id, "", anew.id)
    await one.jobs.close()
    await two.jobs.close()


async def test_a_key_is_for_one_request(tmp_path: Path) -> None:
    memory = Memory()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    await one.claim(asked(key="k"))
    with pytest.raises(BadRequest) as raised:
        await two.claim(asked(2, key="k"))
    assert (raised.value.status, raised.value.code) == (422, "idempotency_key_reused")
    await one.jobs.close()
    await two.jobs.close()


async def test_what_was_refused_takes_no_place(tmp_path: Path) -> None:
    memory = Memory()
    node = Node(memory, tmp_path, Bounds(1, 60))
    first, _ = await node.claim(asked())
    for _ in range(3):
        with pytest.raises(Overloaded):
            await node.claim(asked(2))
    ended = node.record(first, state="done", size=1, status=200)
    await node.board.write([(first.id, ended, 60)])
    assert (await node.claim(asked(2)))[1] == ""
    await node.jobs.close()


async def test_what_cannot_be_counted_is_made_or_refused_as_the_operator_wants(
    tmp_path: Path,
) -> None:
    is_open, closed = (
        Node(Away(), tmp_path),
        Node(Away(), tmp_path, Bounds(9, 60, fails_closed=True)),
    )
    assert (await is_open.claim(asked()))[1] is None
    with pytest.raises(Overloaded, match=r"redis\.limits"):
        await closed.claim(asked())
    await is_open.jobs.close()
    await closed.jobs.close()


async def test_jobs_are_found_again_after_what_is_shared_was_lost(tmp_path: Path) -> None:
    memory = Memory()
    one = Node(memory, tmp_path)
    job, _ = await one.claim(asked(key="k"))
    memory.restore(Memory().saved())
    fresh = Memory()
    one.board._shared = fresh  # noqa: SLF001 - as after a restart of the engine
    two = Node(fresh, tmp_path)
    assert await two.board.left_behind(asked(retry=True)) == ""
    await one.board.announce([job])
    await one.board.write([(job.id, one.record(job), 60)])
    assert await two.board.left_behind(asked(retry=True)) == job.id
    assert (await two.claim(asked(key="k")))[1] == job.id
    await one.jobs.close()
    await two.jobs.close()


async def test_a_follower_is_known_by_its_own_name(tmp_path: Path) -> None:
    memory = Memory()
    one, two = Node(memory, tmp_path), Node(memory, tmp_path)
    job, _ = await one.claim(asked())
    follower, _ = await two.claim(asked(2))
    alias = two.record(follower, follows=job.id)
    await two.board.write([(follower.id, alias, 60)])
    seen = await one.board.seen(follower.id)
    assert seen is not None
    assert (seen.name, seen.record.owner, seen.alive) == (job.id, one.board.process, False)
    assert await one.board.seen("f" * 32) is None
    await one.jobs.close()
    await two.jobs.close()
