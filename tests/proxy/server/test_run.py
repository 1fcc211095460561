"""The gateway as a process: how it starts, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import resource
import signal
import time
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.server.run import loop_exception_handler
from tests.support.gateway import ANSWER, KEY, OURS, PATH, provider
from tests.support.providers import HeldProvider
from tests.support.single_gateway import (
    BOX,
    CUBE,
    Running,
    asked,
    found,
    led_to,
    running,
    slow_provider,
    slow_reader,
)
from tests.support.waiting import until


async def test_a_signal_lets_what_runs_finish(tmp_path: Path) -> None:
    held = HeldProvider()
    async with provider(held.reply) as fake, running(tmp_path, led_to(fake)) as easel:
        slow = easel.drawing(0)
        await until(lambda: held.calls)
        kept_alive = await easel.ready()
        easel.tell()
        await until(easel.refuses_connections)
        assert (kept_alive, await easel.ready()) == (200, 503)
        held.release.set()
        assert await slow == 200
        assert (await easel.end())[0] == 0


async def test_an_idle_gateway_ends_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        await easel.ready()  # and the connection stays open
        easel.tell(signal.SIGINT)
        status, _, err = await easel.end()  # within 20 seconds: shutdown_seconds is 30
        assert (status, err) == (0, "")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=str)
async def test_a_second_signal_ends_it_at_once(tmp_path: Path, second: signal.Signals) -> None:
    held = HeldProvider()
    async with provider(held.reply) as fake, running(tmp_path, led_to(fake)) as easel:
        slow = easel.drawing(0)
        await until(lambda: held.calls)
        easel.tell(signal.SIGTERM)
        await until(easel.refuses_connections)
        easel.tell(second)
        assert (await easel.end())[0] == 128 + second
        assert await slow == 0


async def test_the_deadline_cuts_what_still_runs(tmp_path: Path) -> None:
    held, deadline = HeldProvider(), "server: {shutdown_seconds: 0.3}"
    async with provider(held.reply) as fake, running(tmp_path, led_to(fake, deadline)) as easel:
        slow = easel.drawing(0)
        await until(lambda: held.calls)
        started = time.monotonic()
        easel.tell()
        status, _, err = await easel.end()
        assert (status, err) == (0, "1 request cut at the shutdown deadline, after 0.27 seconds\n")
        assert time.monotonic() - started > 0.2
        assert await slow == 0


async def test_an_answer_that_is_read_slowly_arrives_whole(tmp_path: Path) -> None:
    picture = "A" * (12 << 20)

    async def large(request: web.Request) -> web.Response:
        del request
        return web.json_response({"created": 1, "data": [{"b64_json": picture}]})

    async with provider(large) as fake:
        up = f"virtual_keys: {{box: {{provider: openai, custom_host: {fake.url}/v1}}}}\n"
        kept = "configs: {kept: {virtual_key: box, cache: {mode: simple}}}\n"
        async with running(tmp_path, up + kept) as easel:
            headers = {**OURS, "x-portkey-config": "kept"}
            await (
                await easel.session.post(easel.url + PATH, json={"prompt": "x"}, headers=headers)
            ).read()
            with slow_reader(easel.url) as read:
                await asyncio.sleep(0.3)
                easel.tell()
                await until(easel.refuses_connections)
                assert (await asyncio.to_thread(read)).count(b"A") == len(picture)
            assert (await easel.end())[0] == 0


async def left(easel: Running, latency_ms: int = 0, **headers: str) -> None:
    """Ask for a picture, and leave before it is made."""
    body = {**CUBE, "latency_ms": latency_ms} if latency_ms else CUBE
    named = {**BOX, **{name.replace("_", "-"): value for name, value in headers.items()}}
    with pytest.raises(TimeoutError):
        await easel.session.post(
            easel.url + PATH, json=body, headers=named, timeout=aiohttp.ClientTimeout(0.3)
        )


async def ended(easel: Running, complaint: str = "") -> None:
    """Stop a gateway, which may complain of one thing."""
    easel.tell()
    status, _, err = await easel.end()
    assert status == 0
    assert re.fullmatch(complaint, err), err


@pytest.mark.parametrize("first", [{}, {"idempotency_key": "k"}], ids=["retry", "key"])
async def test_a_picture_outlives_two_processes_and_is_paid_once(
    tmp_path: Path, first: dict[str, str]
) -> None:
    again = first or {"x_stainless_retry_count": "1"}
    async with slow_provider() as fake:
        async with running(tmp_path, led_to(fake)) as easel:
            await left(easel, 0, **first)
            await ended(easel)
        for _ in range(2):
            async with running(tmp_path, led_to(fake)) as easel:
                for _ in range(2):
                    assert await asked(easel, **again) == (200, orjson.dumps(ANSWER))
                await ended(easel)
        assert len(fake.requests) == 1


async def is_refused(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether no new connection is accepted."""
    try:
        async with session.get(url):
            return False
    except aiohttp.ClientConnectorError:
        return True


async def test_while_the_last_jobs_finish_the_gateway_is_not_ready(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        await left(easel, latency_ms=1500)
        assert await easel.ready() == 200
        easel.tell()
        async with aiohttp.ClientSession() as stranger:
            while not await is_refused(stranger, f"{easel.url}/readyz"):
                pass
        assert await easel.ready() == 503  # by the connection that was open before
        assert (await easel.end())[::2] == (0, "")


async def test_a_job_has_the_same_place_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        headers = {**BOX, "prefer": "respond-async"}
        body = {**CUBE, "latency_ms": 500}
        async with easel.session.post(easel.url + PATH, json=body, headers=headers) as got:
            place = got.headers["location"]
        await ended(easel)
    async with running(tmp_path) as easel:
        status, answer = await found(easel, place)
        assert (status, len(orjson.loads(answer)["data"])) == (200, 1)
        async with easel.session.delete(easel.url + place, headers=OURS) as gone:
            assert gone.status == 204
        await ended(easel)
    assert os.listdir(tmp_path / ".easel" / "jobs") == ["lock"]  # noqa: PTH208 - names only
    async with running(tmp_path) as easel:
        assert (await found(easel, place))[0] == 404


async def test_what_is_finished_is_safe_while_others_still_run(tmp_path: Path) -> None:
    async with slow_provider() as fake:
        settings = led_to(fake, "configs: {kept: {provider: sandbox}}\nsandbox: true\n")
        async with running(tmp_path, settings) as easel:
            await left(easel)
            await asyncio.sleep(0.7)
            await left(easel, 60_000, x_portkey_config="kept", x_portkey_virtual_key="")
            easel.tell()
            await asyncio.sleep(0.5)
            easel.tell()
            assert (await easel.end())[0] == 128 + signal.SIGTERM
        async with running(tmp_path, settings) as easel:
            assert (await asked(easel, x_stainless_retry_count="1"))[0] == 200
        assert len(fake.requests) == 1


async def test_what_expires_between_two_processes_is_gone(tmp_path: Path) -> None:
    async with slow_provider() as fake:
        settings = led_to(fake, "jobs: {result_ttl_seconds: 1}\n")
        async with running(tmp_path, settings) as easel:
            await left(easel)
            await ended(easel)
        folder = tmp_path / ".easel" / "jobs"
        assert len(os.listdir(folder)) == 3  # noqa: PTH208 - names only
        await asyncio.sleep(1)
        async with running(tmp_path, settings) as easel:
            assert os.listdir(folder) == ["lock"]  # noqa: PTH208 - names only
            assert (await asked(easel, x_stainless_retry_count="1"))[0] == 200
        assert len(fake.requests) == 2


async def test_garbage_in_the_folder_stops_nothing(tmp_path: Path) -> None:
    async with slow_provider() as fake:
        async with running(tmp_path, led_to(fake)) as easel:
            await left(easel)
            await ended(easel)
        folder = tmp_path / ".easel" / "jobs"
        for name in (f"{'a' * 32}.json", "b" * 32, "notes.txt"):
            (folder / name).write_bytes(b"\xff{[")
        async with running(tmp_path, led_to(fake)) as easel:
            assert (await asked(easel, x_stainless_retry_count="1"))[0] == 200
            await ended(easel, f"ignoring invalid jobs/{'a' * 32}.json: .*\n")
        assert len(os.listdir(folder)) == 4  # noqa: PTH208 - names only
        assert len(fake.requests) == 1


async def test_what_the_shutdown_cut_off_in_mid_answer_can_be_collected(tmp_path: Path) -> None:
    picture = orjson.dumps({"created": 1, "data": [{"b64_json": "A" * (12 << 20)}]})
    async with slow_provider(picture) as fake:
        settings = led_to(
            fake, "server: {shutdown_seconds: 3}\nconfigs: {kept: {virtual_key: box}}"
        )
        async with running(tmp_path, settings) as easel:
            with slow_reader(easel.url) as read:
                await asyncio.sleep(0.3)
                await ended(easel, "1 request cut at the shutdown deadline, after 2.7 seconds\n")
                assert len(await asyncio.to_thread(read)) < len(picture)
        async with running(tmp_path, settings) as easel:
            headers = {**OURS, "x-portkey-config": "kept", "x-stainless-retry-count": "1"}
            async with easel.session.post(
                easel.url + PATH, json={"prompt": "x"}, headers=headers
            ) as got:
                assert await got.read() == picture
        assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("jobs: {disk_bytes: 0}\n", ""),
        (
            "state_dir: easel.yaml/state\n",
            "job results can no longer be stored on disk: .*: Not a directory; .*\n",
        ),
    ],
)
async def test_a_gateway_without_a_disk_works_and_says_what_is_lost(
    tmp_path: Path, settings: str, told: str
) -> None:
    lost = "1 finished result could not be saved to disk for a client to collect\n"
    async with slow_provider() as fake:
        async with running(tmp_path, led_to(fake, settings)) as easel:
            assert (await asked(easel))[0] == 200
            await ended(easel, told)
        async with running(tmp_path, led_to(fake, settings)) as easel:
            await left(easel)
            await ended(easel, told + lost)
    assert not (tmp_path / ".easel").exists()


async def test_no_line_of_a_log_holds_a_prompt_a_key_or_a_picture(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        await easel.drawing(0)
        await easel.session.get(f"{easel.url}/{KEY}?key={KEY}", headers={"x": "sekret" * 9000})
        await easel.session.post(easel.url + PATH, data=b"sekret", headers=BOX)
        easel.tell()
        _, out, err = await easel.end()
    lines = [orjson.loads(line) for line in out.splitlines() if line]
    assert [line["status"] for line in lines] == [200, 431, 415]
    assert not re.search(f"sekret|{KEY}|iVBORw0KGgo", out + err)
    assert err == ""


async def test_what_nobody_has_caught_is_told_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(text: str) -> None:
        raise ValueError(text)

    async def lost() -> None:
        fail("sekret")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_exception_handler)
    loop.call_soon(fail, "sekret")
    task = asyncio.ensure_future(lost())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
    assert caplog.text.count(": ValueError <- ") == 2
    assert "sekret" not in caplog.text


async def test_a_crash_leaves_no_image_of_the_memory(tmp_path: Path) -> None:
    ours, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        async with running(tmp_path) as easel:
            soft, _ = resource.prlimit(easel.process.pid, resource.RLIMIT_CORE)
            assert soft in (0, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (ours, hard))
