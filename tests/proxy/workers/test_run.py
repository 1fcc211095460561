"""A gateway with several workers, from start to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from proxy.workers.run import available_cpus, worker_count
from tests.support.gateway import ANSWER, provider
from tests.support.providers import HeldProvider
from tests.support.single_gateway import led_to
from tests.support.worker_gateway import SANDBOX, is_running, running, started, wait_until

SLOW_STOP = SANDBOX + "server: {shutdown_seconds: 0.3}"


async def test_the_workers_of_a_gateway_listen_at_one_port(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        assert len(easel.listeners) == 2
        assert easel.listeners == set(easel.workers)
        assert await asyncio.gather(*(easel.generate() for _ in range(20))) == [200] * 20


async def test_the_settings_can_set_the_number_of_workers(tmp_path: Path) -> None:
    settings = SANDBOX + 'server: {workers: "3"}'
    async with running(tmp_path, settings, "--host", "127.0.0.1") as easel:
        assert len(easel.workers) == 3


async def test_one_worker_is_one_process(tmp_path: Path) -> None:
    async with running(tmp_path, SANDBOX, "--workers", "1") as easel:
        assert easel.workers == []
        assert await easel.generate() == 200


async def test_the_generated_key_is_the_same_in_all(tmp_path: Path) -> None:
    async with running(tmp_path, "", "--workers", "2", keyless=True) as easel:
        key = (tmp_path / ".easel" / "key").read_text().strip()
        assert (tmp_path / "out").read_text().count(key) == 2
        for _ in range(20):
            async with (
                aiohttp.ClientSession(headers={"x-portkey-api-key": key}) as session,
                session.get(easel.url + "/v1/models") as got,
            ):
                assert got.status == 200


async def test_a_signal_lets_running_requests_finish(tmp_path: Path) -> None:
    held = HeldProvider()
    async with provider(held.reply) as fake, running(tmp_path, led_to(fake)) as easel:
        slow = [asyncio.create_task(easel.generate()) for _ in range(8)]
        await wait_until(lambda: held.calls == 8)
        easel.send_signal()
        await wait_until(lambda: not easel.listeners)
        assert await easel.generate() == 0
        held.release.set()
        assert await asyncio.gather(*slow) == [200] * 8
        assert (await easel.wait(), easel.err) == (0, "")


async def test_ctrl_c_lets_running_requests_finish(tmp_path: Path) -> None:
    held = HeldProvider()
    async with provider(held.reply) as fake, running(tmp_path, led_to(fake)) as easel:
        slow = [asyncio.create_task(easel.generate()) for _ in range(8)]
        await wait_until(lambda: held.calls == 8)
        for pid in (easel.process.pid, *easel.workers):
            subprocess.run(["/bin/kill", "-INT", str(pid)], check=True)  # noqa: S603, ASYNC221 - as a terminal does
        await wait_until(lambda: not easel.listeners)
        held.release.set()
        assert await asyncio.gather(*slow) == [200] * 8
        assert (await easel.wait(), easel.err) == (0, "")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=str)
async def test_a_second_signal_kills_all_workers(tmp_path: Path, second: signal.Signals) -> None:
    held = HeldProvider()
    async with provider(held.reply) as fake, running(tmp_path, led_to(fake)) as easel:
        workers = easel.workers
        slow = [asyncio.create_task(easel.generate()) for _ in range(8)]
        await wait_until(lambda: held.calls == 8)
        easel.send_signal(signal.SIGTERM)
        await wait_until(lambda: not easel.listeners)
        easel.send_signal(second)
        assert await easel.wait() == 128 + second
        assert await asyncio.gather(*slow) == [0] * 8
        await wait_until(lambda: not any(map(is_running, workers)))


async def test_a_killed_supervisor_leaves_no_worker_behind(tmp_path: Path) -> None:
    held = HeldProvider()
    async with provider(held.reply) as fake, running(tmp_path, led_to(fake)) as easel:
        workers = easel.workers
        slow = [asyncio.create_task(easel.generate()) for _ in range(8)]
        await wait_until(lambda: held.calls == 8)
        easel.send_signal(signal.SIGKILL)
        await easel.wait()
        held.release.set()
        assert await asyncio.gather(*slow) == [200] * 8
        await wait_until(lambda: not any(map(is_running, workers)))


async def test_a_result_left_by_a_killed_supervisor_is_not_paid_again(
    tmp_path: Path,
) -> None:
    held = HeldProvider()
    async with provider(held.reply) as fake:
        led = led_to(fake)
        async with running(tmp_path, led) as easel:
            asking = asyncio.create_task(easel.generate())
            await wait_until(lambda: held.calls)
            asking.cancel()
            await asyncio.wait([asking])
            workers = easel.workers
            easel.send_signal(signal.SIGKILL)
            held.release.set()
            await wait_until(lambda: not any(map(is_running, workers)))
        async with running(tmp_path, led) as easel:
            assert await easel.generate(again=True) == 200
        assert len(fake.requests) == 1


async def test_a_port_in_use_is_a_readable_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        async with started(tmp_path, SANDBOX, "--workers", "2", "--port", port) as easel:
            assert await easel.wait() == 1
            assert easel.err == (
                f"easel: cannot listen on 127.0.0.1:{port}: Address already in use. "
                "Try another --host or --port.\n"
            )


async def test_a_response_of_one_worker_is_a_hit_on_all(tmp_path: Path) -> None:
    async def image(_: web.Request) -> web.Response:
        return web.json_response(ANSWER)

    async with provider(image) as fake:
        led = f"virtual_keys: {{box: {{provider: openai, custom_host: {fake.url}/v1}}}}\n"
        kept = led + "configs: {kept: {virtual_key: box, cache: {mode: simple}}}\n"
        async with running(tmp_path, kept) as easel:
            async with asyncio.timeout(20):
                while (
                    await easel.cache_status("kept") != "HIT"
                ):  # It is kept after the client has it.
                    pass
            made = len(fake.requests)
            assert [await easel.cache_status("kept") for _ in range(20)] == ["HIT"] * 20
            assert len(fake.requests) == made
            common = [it for it in (tmp_path / ".easel/blobs/cache").iterdir() if any(it.iterdir())]
            assert len(common) == 1
            easel.send_signal()
            assert (await easel.wait(), easel.err) == (0, "")
        assert list((tmp_path / ".easel/blobs/cache").iterdir()) == []


async def test_shared_state_survives_a_restart(tmp_path: Path) -> None:
    state_file = tmp_path / ".easel" / "hub"
    state_file.parent.mkdir()
    state_file.write_bytes(b"\x81\xa1k\x92\xcb\x7f\xe0\x00\x00\x00\x00\x00\x00\xc4\x01v")
    kept = state_file.read_bytes()
    async with running(tmp_path) as easel:
        assert not state_file.exists()
        easel.send_signal()
        assert (await easel.wait(), easel.err) == (0, "")
    assert state_file.read_bytes() == kept


async def test_a_damaged_state_file_does_not_prevent_the_start(tmp_path: Path) -> None:
    (tmp_path / ".easel").mkdir()
    (tmp_path / ".easel" / "hub").write_bytes(b"garbage")
    async with running(tmp_path) as easel:
        assert await easel.generate() == 200
        assert easel.err.startswith("cannot restore shared state from .easel/hub: ")
        assert easel.err.count("\n") == 1


def test_the_supervisor_imports_no_http_server() -> None:
    asked = "import sys, proxy.cli.main, proxy.workers.run; print('aiohttp' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True)  # noqa: S603 - our own
    assert told.stdout == b"False\n"


@pytest.mark.parametrize(
    ("quota", "most"),
    [("max 100000", 4), ("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("", 4)],
)
def test_the_cpu_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, most: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    (tmp_path / "cpu.max").write_text(quota)
    assert available_cpus(tmp_path / "cpu.max") == most


def test_only_cpus_of_the_affinity_count(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cpus(tmp_path / "none") == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("said", "many"), [(3, 3), ("3", 3), ("auto", None)])
def test_a_worker_count_may_be_text(said: int | str, many: int | None) -> None:
    assert worker_count(said) == (many or available_cpus())
