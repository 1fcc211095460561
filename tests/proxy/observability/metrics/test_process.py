"""What is told of this process is this process's."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from proxy.observability.metrics import process


def test_processor_time_only_grows() -> None:
    before = process.cpu_seconds()
    until = time.process_time() + 0.01
    while time.process_time() < until:
        pass
    assert process.cpu_seconds() >= before + 0.01


def test_memory_is_no_more_than_the_most_there_ever_was() -> None:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # The kernel's two counts lag behind each other by some pages.
    assert 1024 * 1024 < process.resident_bytes() < most * 1.5


def test_a_file_that_is_opened_is_counted(tmp_path: Path) -> None:
    before = process.open_fds()
    with (tmp_path / "file").open("w"):
        assert process.open_fds() == before + 1
    assert process.open_fds() < process.max_fds()


def test_it_was_started_before_now_and_after_the_machine() -> None:
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert booted <= process.start_time() <= time.time()
