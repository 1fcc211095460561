"""Starts the cluster, runs all scenarios and prints the table; exits with 1 on a broken promise.

With `--write` the table is also written into docs/clustering.md.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import aiohttp

from proxy import __version__
from tests.cluster import servers
from tests.cluster.nodes import Node
from tests.cluster.scenarios import SCENARIOS, Cluster, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "clustering.md"
BEGIN, END = "<!-- measured: make cluster-test -->\n", "<!-- end of the cluster -->\n"
_NODES = 3


async def run_scenarios(folder: Path, names: list[str]) -> list[Outcome]:
    """Run the cluster and the named scenarios, or all."""
    provider, redis = servers.provider(), servers.redis(folder)
    store = servers.storage(folder)
    nodes = [Node(f"node {i}", folder / f"node{i}", servers.free_port()) for i in range(_NODES)]
    load_balancer = servers.nginx(folder, [node.port for node in nodes])
    with ExitStack() as stack:
        for server in (provider, redis, store, load_balancer):
            server.start()
            stack.callback(server.stop)
        for node in nodes:
            node.write_settings(provider, redis, store)
            stack.callback(node.kill)
            node.start()
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            cluster = Cluster(nodes, load_balancer, redis, store, provider, session)
            outcomes = []
            for scenario in SCENARIOS:
                if not names or scenario.__name__ in names:
                    outcomes.append(await scenario(cluster))
                    print(outcomes[-1].cells(), flush=True)
            return outcomes


def table(outcomes: list[Outcome], seconds: float) -> str:
    """Return the table, below a line that says where and when it was measured."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    versions = (
        f"{datetime.now(UTC):%Y-%m-%d}: Easel {__version__}, Python {platform.python_version()}"
    )
    sdks = f"openai {version('openai')}, portkey-ai {version('portkey-ai')}"
    programs = f"{_program('nginx', '-v')}, {_program('redis-server', '--version')}"
    columns = "event", "requests", "failed", "disconnected and collected", "paid twice", "checks"
    return "\n".join(
        [
            f"{versions}, {machine}; {sdks}; {programs}; {seconds:.0f} seconds.",
            "",
            f"| {' | '.join(columns)} | promise | kept |",
            f"|{' --- |' * (len(columns) + 2)}",
            *[it.cells() for it in outcomes],
        ]
    )


def _program(command: str, option: str) -> str:
    output = subprocess.run(  # noqa: S603 - Debian's own command
        [servers.find_command(command, command), option], capture_output=True, text=True, check=True
    )
    number = re.search(r"\d+\.\d+\.\d+", output.stdout + output.stderr)
    return f"{command} {number[0] if number else ''}"


def main() -> None:
    """Run the scenarios."""
    os.environ["NO_PROXY"] = "*"
    names = [it for it in sys.argv[1:] if not it.startswith("-")]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = asyncio.run(run_scenarios(Path(folder), names))
    text = table(outcomes, time.monotonic() - started)
    if "--write" in sys.argv:
        pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n\n{END}", page), encoding="utf-8")
    print(text)
    sys.exit(not all(it.passed for it in outcomes))


if __name__ == "__main__":
    main()
