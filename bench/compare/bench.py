"""The servers of a run, and what it has found so far."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from . import pictures
from .asking import clients, is_right
from .contestants import DIRECT, OURS, Contestant, Site, direct, known
from .environment import HOME, Environment, say
from .load import Asked, BadAnswersError, Loader
from .mock import nginx_of_files
from .servers import LOAD, UNDER_TEST, Server, StartError, free_port, running

_GB = 1e9


@dataclass
class Found:
    """What was measured, one value a round: by scenario, contestant, measure."""

    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, scenario: str, who: str, measures: dict[str, float]) -> None:
        """Note a round; raises `BadAnswersError` where something is no number."""
        for measure, value in measures.items():
            if not math.isfinite(value):
                raise BadAnswersError(f"{scenario}, {who}: {measure} is {value}")
            found = self.values.setdefault(scenario, {}).setdefault(who, {})
            found.setdefault(measure, []).append(value)


@dataclass
class Bench:
    """A run: the mock, the contestants that are running, and a session of ours."""

    site: Site
    loader: Loader
    session: aiohttp.ClientSession
    mock: Server
    contestants: dict[str, Contestant]
    found: Found = field(default_factory=Found)
    servers: dict[str, Server] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, str]:
        """Who does not take part, and why."""
        return self.site.environment.left_out

    def asked(self, who: str, what: str, **more: Any) -> Asked:
        """Give the request by which a contestant is asked for something."""
        return self.contestants[who].asked(self.site, what, **more)

    @asynccontextmanager
    async def started(
        self, contestant: Contestant, folder: Path, core: int | None = UNDER_TEST
    ) -> AsyncIterator[Server]:
        """Run a contestant on the core of the servers, or on another one."""
        port = free_port()
        async with running(
            contestant.name,
            contestant.command(self.site, port),
            port,
            core=core,
            folder=folder,
            environ=contestant.environ,
            cwd=contestant.cwd,
        ) as server:
            yield server

    async def start(self, stack: AsyncExitStack, names: Iterable[str]) -> None:
        """Run those who can, and see that what they answer is right; note who is left out."""
        for name in names:
            if name not in self.contestants:
                continue
            one = self.contestants[name]
            say(f"starting {name} ...")
            try:
                server = await stack.enter_async_context(self.started(one, self.site.folder))
            except StartError as error:
                if not self.is_a_rival(name):
                    raise
                self.left_out[name] = str(error)
                del self.contestants[name]
                continue
            self.servers[name] = server
            for what in (pictures.SMALL, pictures.LARGE):
                picture = pictures.held(what)
                await is_right(self.session, server, self.asked(name, what), picture)

    @staticmethod
    def is_a_rival(name: str) -> bool:
        """Tell whether a run is one without this contestant."""
        return name in ("portkey", "litellm")

    async def loaded(
        self, who: str, what: str, connections: int, seconds: int, **more: Any
    ) -> dict[str, float]:
        """Measure a contestant under load: CPU and times in seconds, an answer each."""
        return await self.under(
            self.servers[who], self.asked(who, what, **more), connections, seconds
        )

    async def under(
        self, server: Server, asked: Asked, connections: int, seconds: int
    ) -> dict[str, float]:
        """Measure a server under load."""
        before = server.cpu()
        got = await self.loader.load(server, asked, connections, seconds)
        cpu = server.cpu() - before
        return {
            "cpu": cpu / got.requests,
            "cpu_per_gb": cpu / (got.size / _GB),
            "rate": got.requests / got.seconds,
            "p50": got.p50,
            "p99": got.p99,
        }


@asynccontextmanager
async def benching(environment: Environment) -> AsyncIterator[Bench]:
    """Start the mock provider, in a folder of the run's own."""
    runs = HOME / "run"
    shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir(parents=True)
    folder = Path(tempfile.mkdtemp(dir=runs))
    try:
        async with AsyncExitStack() as stack:
            port, slow_port = free_port(), free_port()
            mock_url, slow_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{slow_port}"
            pictures.write(folder, mock_url)
            nginx = [environment.nginx, "-c", nginx_of_files(folder, port)]
            mock = await stack.enter_async_context(
                running("mock", nginx, port, core=LOAD, folder=folder)
            )
            await stack.enter_async_context(
                running(
                    "slow",
                    [sys.executable, "-m", "compare.mock", str(slow_port)],
                    slow_port,
                    core=LOAD,
                    folder=folder,
                    environ=OURS,
                )
            )
            session = await stack.enter_async_context(clients())
            site = Site(mock_url, slow_url, folder, environment)
            contestants = {DIRECT: direct(), **known(environment)}
            made = Bench(site, Loader(environment.wrk, folder), session, mock, contestants)
            made.servers[DIRECT] = mock
            yield made
    finally:
        shutil.rmtree(runs, ignore_errors=True)
