"""A clustered gateway shares its state; a single process loads none of that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.app import make_app
from proxy.context import STATE_STORE, STRATEGIES
from proxy.jobs.cluster import JobCluster
from proxy.jobs.keys import JOB_CLUSTER
from proxy.routing.shared_circuits import SharedCircuitBreakers
from proxy.settings.loader import parse
from proxy.state.memory import MemoryStore
from proxy.state.redis import RedisStore


def test_a_single_process_does_not_import_shared_state() -> None:
    asked = """
import sys
from proxy.app import make_app
from proxy.settings.loader import default_settings
make_app(default_settings({}))
print([it for it in sys.modules if "shar" in it and it.startswith("proxy") or "redis" in it])
"""
    told = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert told.stdout == "['proxy.settings.redis_url']\n"


@pytest.mark.parametrize("redis", ["", "redis: {url: redis://127.0.0.1:1}"])
def test_a_clustered_gateway_shares_its_state(redis: str) -> None:
    memory = MemoryStore()
    app = make_app(parse(redis, environ={}), state_store=memory)
    assert isinstance(app[JOB_CLUSTER], JobCluster)
    assert isinstance(app[STRATEGIES].circuits, SharedCircuitBreakers)
    # A Redis reaches farther than a machine.
    assert isinstance(app[STATE_STORE], RedisStore) if redis else app[STATE_STORE] is memory
