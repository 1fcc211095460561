"""The supervisor restarts workers and sends them new settings."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from proxy.workers.supervisor import Backoff, describe_exit
from tests.support.worker_gateway import SANDBOX, WorkerGateway, running, started, wait_until


async def replaced(easel: WorkerGateway) -> None:
    """Kill all workers and wait for their replacements."""
    before = easel.listeners
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: len(easel.listeners - before) == len(before))


async def test_a_killed_worker_is_restarted_and_requests_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        killed, other = easel.workers
        os.kill(killed, signal.SIGKILL)
        await wait_until(lambda: killed not in easel.workers)
        assert [await easel.generate() for _ in range(20)] == [200] * 20
        await wait_until(lambda: len(easel.listeners) == 2)
        assert other in easel.listeners
        assert killed not in easel.listeners
        assert re.fullmatch(r"worker [12] was killed \(SIGKILL\); restarting in 1 s\n", easel.err)
        easel.send_signal()
        assert await easel.wait() == 0


async def test_the_restart_delay_grows(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        await replaced(easel)
        await replaced(easel)
        told = sorted(line.partition("restarting in ")[2] for line in easel.err.splitlines())
        assert told == ["1 s", "1 s", "2 s", "2 s"]


async def test_a_signal_during_a_restart_delay_stops_all(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        for pid in easel.workers:
            os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: not easel.workers)
        easel.send_signal()
        assert await easel.wait() == 0


async def test_a_signal_before_any_worker_listens_stops_all(tmp_path: Path) -> None:
    async with started(tmp_path) as easel:
        await wait_until(lambda: len(easel.workers) == 2)
        easel.send_signal()
        assert await easel.wait() == 0
        assert easel.err == ""


async def test_if_no_worker_can_start_the_first_error_is_shown(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    os.mkfifo(prices)  # It can be read once.
    async with started(tmp_path, SANDBOX + "prices: prices.yaml") as easel:
        await asyncio.to_thread(prices.write_text, "[]\n")
        prices.unlink()
        assert await easel.wait() == 1
        assert easel.err == (
            "easel: easel.yaml:5: prices: must be the path of a readable YAML file of prices\n"
        )


async def test_a_restarted_worker_does_not_use_an_invalid_file(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as easel:
        easel.write("virtual_keys: {box: {provider: sanbox}}")
        await replaced(easel)
        assert [await easel.generate() for _ in range(8)] == [200] * 8


async def test_invalid_settings_are_logged_and_change_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        easel.write("virtual_keys: {box: {provider: sanbox}}\nlimit: {}")
        easel.send_signal(signal.SIGHUP)
        await wait_until(lambda: "reload failed" in easel.err)
        (told,) = easel.err.splitlines()
        assert "virtual_keys.box.provider: is not a known provider; did you mean" in told
        assert "limit: is not a setting; did you mean limits?" in told
        await replaced(easel)
        assert [await easel.generate() for _ in range(8)] == [200] * 8


async def test_valid_settings_reach_every_worker(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        assert await easel.generate(n=2) == 200
        easel.write(SANDBOX + "limits: {images: 1}")
        easel.send_signal(signal.SIGHUP)
        await wait_until(lambda: "settings reloaded" in easel.err)
        assert [await easel.generate(n=2) for _ in range(8)] == [400] * 8
        assert easel.err.count("settings reloaded") == 1
        await replaced(easel)
        assert [await easel.generate(n=2) for _ in range(8)] == [400] * 8


@pytest.mark.parametrize("said", ["0", "65", "many", "-1", "2.0"])
async def test_an_invalid_number_of_workers_is_an_error(tmp_path: Path, said: str) -> None:
    async with started(tmp_path, SANDBOX, "--workers", said) as easel:
        assert await easel.wait() == 2
        assert "is not auto, or a number from 1 to 64" in easel.err


def test_the_delay_doubles_up_to_30_seconds() -> None:
    backoff = Backoff()
    assert [backoff.next_delay(0) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_the_delay_is_reset_after_a_stable_run() -> None:
    backoff = Backoff()
    assert [backoff.next_delay(lived) for lived in (0, 0, 61, 0, 59)] == [1, 2, 1, 2, 4]


def test_an_unknown_signal_is_described_by_its_number() -> None:
    assert describe_exit(-63) == "was killed (signal 63)"
