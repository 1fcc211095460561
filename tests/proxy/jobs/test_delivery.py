"""Answering with a job: keepalive, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web

from adapters.errors import BadParam, refusal
from proxy.context import ERROR_CODE, TRACE_ID
from proxy.jobs.budget import RecordingBudget
from proxy.jobs.delivery import EVENT_STREAM_TYPE, JSON_TYPE, deliver
from proxy.jobs.job import Job, JobKey
from proxy.jobs.recording import Recording
from proxy.jobs.store import JobStore
from proxy.reload.snapshot import SNAPSHOT, SettingsSnapshot
from proxy.settings.loader import parse
from tests.support.gateway import ANSWER, Answered, served

Play = Callable[[Recording], Awaitable[None]]
OTTER = orjson.dumps(ANSWER)


@dataclass
class Counter:
    """Where a job is asked for, as often as one likes."""

    url: str = ""
    jobs: list[Job] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)

    async def ask(self, seconds: float = 5) -> Answered:
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with aiohttp.ClientSession() as session, session.get(self.url, timeout=timeout) as it:
            return Answered(it.status, it.headers, await it.read())

    @property
    def failures(self) -> list[str | None]:
        return [request.get(ERROR_CODE) for request in self.requests]


@asynccontextmanager
async def counter(
    play: Play, folder: Path, *, kind: str = JSON_TYPE, keepalive: float = 0.02, wait: float = 0
) -> AsyncIterator[Counter]:
    """Serve one job, begun by whoever asks first."""
    here, current = (
        Counter(),
        SettingsSnapshot(parse(f"jobs: {{wait_seconds: {wait}}}", environ={})),
    )
    jobs = JobStore(RecordingBudget(1 << 20, 0), folder, result_ttl=60)

    async def handler(request: web.Request) -> web.StreamResponse:
        request[TRACE_ID], request[SNAPSHOT] = "t1", current
        here.requests.append(request)
        if not here.jobs:
            here.jobs.append(jobs.start(JobKey("c", b"d"), play))  # type: ignore[arg-type]  # all are coroutines
            here.jobs[0].content_type = kind
        return await deliver(request, here.jobs[0], keepalive)

    app = web.Application()
    app.router.add_get("/", handler)
    async with served(app) as here.url:
        yield here
    await jobs.close()


def slow(kind: str = JSON_TYPE, body: bytes = OTTER, seconds: float = 0.1, **headers: str) -> Play:
    """Make a job that takes a while to begin its answer."""

    async def play(recording: Recording) -> None:
        await asyncio.sleep(seconds)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        recording.begin(200, {"content-type": kind, "x-easel-receipt": "r", **named})
        await recording.append(body)

    return play


def failing(error: Exception) -> Play:
    """Make a job that takes a while to fail."""

    async def play(recording: Recording) -> None:
        del recording
        await asyncio.sleep(0.1)
        raise error

    return play


async def test_whitespace_goes_before_the_body_of_a_slow_answer(tmp_path: Path) -> None:
    async with counter(slow(), tmp_path) as here:
        got = await here.ask()
        assert (got.status, got.json, got.headers["content-type"]) == (200, ANSWER, JSON_TYPE)
        assert got.body.startswith(b"  ")
        assert got.headers["x-easel-job"] == here.jobs[0].id
        assert "x-easel-receipt" not in got.headers
        assert (here.jobs[0].deliveries, here.failures) == (1, [None])


async def test_comments_go_before_the_first_event(tmp_path: Path) -> None:
    event = b"event: a\ndata: {}\n\n"
    async with counter(
        slow(f"{EVENT_STREAM_TYPE}; charset=utf-8", event), tmp_path, kind=EVENT_STREAM_TYPE
    ) as here:
        got = await here.ask()
        comments, _, rest = got.body.rpartition(b": keep-alive\n\n")
        assert (got.headers["content-type"], rest) == (EVENT_STREAM_TYPE, event)
        assert comments.count(b": keep-alive\n\n") >= 1


async def test_an_answer_in_time_is_as_it_would_be(tmp_path: Path) -> None:
    async with counter(slow(), tmp_path, keepalive=1) as here:
        got = await here.ask()
        assert (got.body, got.headers["x-easel-receipt"]) == (OTTER, "r")


async def test_a_short_answer_has_the_length_it_has(tmp_path: Path) -> None:
    async with counter(slow(seconds=0, content_length="3"), tmp_path, keepalive=0) as here:
        got = await here.ask()
        assert (got.body, here.jobs[0].deliveries, here.failures) == (OTTER, 1, [None])


async def test_a_late_failure_stands_in_the_body_and_in_the_log(tmp_path: Path) -> None:
    async with counter(failing(refusal("no")), tmp_path) as here:
        got = await here.ask()
        assert (got.status, got.error["code"]) == (200, "moderation_blocked")
        assert (here.jobs[0].deliveries, here.failures) == (0, ["moderation_blocked"])


async def test_a_late_failure_is_an_event_among_events(tmp_path: Path) -> None:
    async with counter(failing(refusal("no")), tmp_path, kind=EVENT_STREAM_TYPE) as here:
        *_, last, end = (await here.ask()).body.split(b"\n\n")
        name, data = last.split(b"\n")
        told = orjson.loads(data.removeprefix(b"data: "))
        assert (name, told["type"], end) == (b"event: error", "error", b"")
        assert told["error"]["code"] == "moderation_blocked"
        assert here.failures == ["moderation_blocked"]


async def test_a_late_bug_is_told_like_an_early_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with counter(failing(KeyError("a secret prompt")), tmp_path) as here:
        got = await here.ask()
        assert (got.status, got.error["type"]) == (200, "server_error")
        assert "secret" not in got.body.decode() + caplog.text
        assert "trace t1: KeyError <- " in caplog.text


async def test_nothing_is_begun_before_a_target_has_taken_the_request(tmp_path: Path) -> None:
    async with counter(failing(BadParam("n", "no")), tmp_path, kind="") as here:
        assert (await here.ask()).status == 500  # No middleware is here to make it a 400.


@pytest.mark.parametrize("play", [slow(EVENT_STREAM_TYPE), slow(content_encoding="gzip")])
async def test_an_answer_of_another_form_waits_for_its_client(play: Play, tmp_path: Path) -> None:
    async with counter(play, tmp_path) as here:
        got = await here.ask()
        assert (got.status, got.error["code"]) == (200, "other_form")
        assert here.jobs[0].id in got.error["message"]
        assert (here.jobs[0].deliveries, here.jobs[0].status) == (0, "done")


@pytest.mark.parametrize(("keepalive", "wait", "status"), [(5, 0.01, 500), (0.02, 0.25, 200)])
async def test_a_client_is_told_to_come_back_only_before_its_answer_has_begun(
    keepalive: float, wait: float, status: int, tmp_path: Path
) -> None:
    play = slow(seconds=0.4)
    async with counter(play, tmp_path, keepalive=keepalive, wait=wait) as here:
        assert (await here.ask()).status == status


async def test_all_who_join_are_kept_alive(tmp_path: Path) -> None:
    async with counter(slow(), tmp_path) as here:
        got = await asyncio.gather(*[here.ask() for _ in range(3)])
        assert [it.json for it in got] == [ANSWER] * 3
        assert all(it.body.startswith(b" ") for it in got)
        assert len(here.jobs) == 1


async def test_a_client_that_leaves_is_noticed_before_the_answer_is_there(tmp_path: Path) -> None:
    async with counter(slow(seconds=60), tmp_path) as here:
        with pytest.raises(TimeoutError):
            await here.ask(0.1)
        async with asyncio.timeout(5):
            while here.failures != ["client_gone"]:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)
        assert (here.jobs[0].status, here.jobs[0].listeners) == ("running", 0)
