"""Starts the cluster, tells all stories, prints the table, and exits with 1 on a broken promise.

With `--write` the table goes into docs/clustering.md as well.
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
from tests.cluster import engines
from tests.cluster.nodes import Node
from tests.cluster.stories import STORIES, Cluster, Seen

PAGE = Path(__file__).parents[2] / "docs" / "clustering.md"
BEGIN, END = "<!-- measured: make cluster-test -->\n", "<!-- end of the cluster -->\n"
_NODES = 3


async def told(folder: Path, names: list[str]) -> list[Seen]:
    """Run the cluster, and tell stories; all of them unless some are named."""
    provider, redis = engines.provider(), engines.redis(folder)
    store = engines.storage(folder)
    nodes = [Node(f"node {i}", folder / f"node{i}", engines.free_port()) for i in range(_NODES)]
    front = engines.nginx(folder, [node.port for node in nodes])
    with ExitStack() as stack:
        for engine in (provider, redis, store, front):
            engine.start()
            stack.callback(engine.stop)
        for node in nodes:
            node.settle(provider, redis, store)
            stack.callback(node.kill)
            node.start()
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            cluster = Cluster(nodes, front, redis, store, provider, session)
            seen = []
            for story in STORIES:
                if not names or story.__name__ in names:
                    seen.append(await story(cluster))
                    print(seen[-1].cells(), flush=True)
            return seen


def table(seen: list[Seen], seconds: float) -> str:
    """Write the table, and where and when it was made."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    made = f"{datetime.now(UTC):%Y-%m-%d}: Easel {__version__}, Python {platform.python_version()}"
    parts = f"openai {version('openai')}, portkey-ai {version('portkey-ai')}"
    servers = f"{_server('nginx', '-v')}, {_server('redis-server', '--version')}"
    columns = "what happens", "requests", "failed", "left and collected", "paid twice", "also"
    return "\n".join(
        [
            f"{made}, {machine}; {parts}; {servers}; {seconds:.0f} seconds.",
            "",
            f"| {' | '.join(columns)} | promised | kept |",
            f"|{' --- |' * (len(columns) + 2)}",
            *[it.cells() for it in seen],
        ]
    )


def _server(command: str, option: str) -> str:
    found = subprocess.run(  # noqa: S603 - Debian's own command
        [engines.found(command, command), option], capture_output=True, text=True, check=True
    )
    number = re.search(r"\d+\.\d+\.\d+", found.stdout + found.stderr)
    return f"{command} {number[0] if number else ''}"


def main() -> None:
    """Tell the stories."""
    os.environ["NO_PROXY"] = "*"
    names = [it for it in sys.argv[1:] if not it.startswith("-")]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(told(Path(folder), names))
    made = table(seen, time.monotonic() - begun)
    if "--write" in sys.argv:
        pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(pattern.sub(lambda _: f"{BEGIN}\n{made}\n\n{END}", page), encoding="utf-8")
    print(made)
    sys.exit(not all(it.kept for it in seen))


if __name__ == "__main__":
    main()
