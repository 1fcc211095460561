"""Which tests need other processes, and in which order modules run.

`pytest -m "not process"` (`make test-fast`) leaves out what starts a process or a server of another
project: a gateway of its own, Redis, nginx, S3, official SDKs, and everything about deployment.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from _pytest.doctest import DoctestModule

pytest.register_assert_rewrite(
    "tests.support.replay", "tests.support.transcripts", "tests.support.transcript_provider"
)

PROCESS_PATHS = {"deploy", "faults", "system", "test_official_sdks.py"}
"""Folders and modules of which each test starts processes."""

PROCESS_SUPPORT = {
    *("tests.support.gateway_process", "tests.support.single_gateway"),
    *("tests.support.worker_gateway", "tests.support.redis", "tests.support.redis_topologies"),
    *("tests.support.nginx", "tests.support.s3"),
}
"""Support modules that start processes: a test module that imports from one is marked."""


LONG = {
    *("test_wheel.py", "test_restarts.py", "test_rolling_restart.py", "test_listeners.py"),
    *("test_run.py", "test_matrix.py", "test_redis_topology.py", "test_interleavings.py"),
    *("test_supervisor.py", "test_monitoring.py", "test_slow_clients.py"),
}
"""Modules with few tests that take long: they begin first, so that none is the last to end."""


def needs_processes(module: ModuleType, path: Path) -> bool:
    """Whether a test module starts processes, by its folder and by what it imports."""
    if PROCESS_PATHS & set(path.parts):
        return True
    homes = {getattr(value, "__module__", "") for value in vars(module).values()}
    return bool(homes & PROCESS_SUPPORT)


def pytest_collection_finish() -> None:
    """Have the garbage collector run less often: most of what it walks through stays anyway."""
    gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for no doctests below `tests`: there are none, and looking imports every module."""
    collectors = yield
    return [it for it in collectors if not isinstance(it, DoctestModule)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need processes, and spread their modules evenly among the others.

    Such tests wait while the others compute, so they run best side by side.
    """
    marked: dict[str, bool] = {}
    for item in items:
        name = str(item.path)
        if name not in marked:
            module = getattr(item, "module", None)
            relative = Path(name).relative_to(item.config.rootpath)
            marked[name] = isinstance(module, ModuleType) and needs_processes(module, relative)
        if marked[name]:
            item.add_marker("process")
    place = _places(marked, Counter(str(item.path) for item in items))
    items.sort(key=lambda item: place[str(item.path)])


def _places(marked: dict[str, bool], counts: Counter[str]) -> dict[str, Fraction]:
    """Return where each module comes in the run, 0 to 1: long ones, then those of many tests."""
    places: dict[str, Fraction] = {}
    for needs_process in (False, True):
        names = [name for name, it in marked.items() if it is needs_process]
        names.sort(key=lambda name: (Path(name).name not in LONG, -counts[name], name))
        places |= {name: Fraction(at, len(names)) for at, name in enumerate(names)}
    return places
