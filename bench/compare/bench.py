"""The servers and measurements of a run."""

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

from . import responses
from .contestants import DIRECT, OURS, Contestant, Site, all_contestants, direct
from .environment import HOME, Environment, log
from .load import BadAnswersError, Loader, Request
from .mock import nginx_of_files
from .requests import check_image, clients
from .servers import LOAD, UNDER_TEST, Server, StartError, free_port, running

_GB = 1e9


@dataclass
class Measurements:
    """Measured values, one per round, by scenario, contestant and measure."""

    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, scenario: str, who: str, measures: dict[str, float]) -> None:
        """Add the values of a round; raise `BadAnswersError` if one is not a number."""
        for measure, value in measures.items():
            if not math.isfinite(value):
                raise BadAnswersError(f"{scenario}, {who}: {measure} is {value}")
            measurements = self.values.setdefault(scenario, {}).setdefault(who, {})
            measurements.setdefault(measure, []).append(value)


@dataclass
class Bench:
    """A run: the mock provider, the running contestants, and an HTTP session."""

    site: Site
    loader: Loader
    session: aiohttp.ClientSession
    mock: Server
    contestants: dict[str, Contestant]
    measurements: Measurements = field(default_factory=Measurements)
    servers: dict[str, Server] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, str]:
        """Contestants that do not take part, with the reason."""
        return self.site.environment.left_out

    def request(self, who: str, what: str, **more: Any) -> Request:
        """Return the request that asks a contestant for a kind of response."""
        return self.contestants[who].request(self.site, what, **more)

    @asynccontextmanager
    async def started(
        self, contestant: Contestant, folder: Path, core: int | None = UNDER_TEST
    ) -> AsyncIterator[Server]:
        """Run a contestant on the servers' core, or another one."""
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
        """Start contestants and check their responses; record which are left out."""
        for name in names:
            if name not in self.contestants:
                continue
            one = self.contestants[name]
            log(f"starting {name} ...")
            try:
                server = await stack.enter_async_context(self.started(one, self.site.folder))
            except StartError as error:
                if not self.is_optional(name):
                    raise
                self.left_out[name] = str(error)
                del self.contestants[name]
                continue
            self.servers[name] = server
            for what in (responses.SMALL, responses.LARGE):
                image = responses.image_of(what)
                await check_image(self.session, server, self.request(name, what), image)

    @staticmethod
    def is_optional(name: str) -> bool:
        """Whether a run is valid without this contestant."""
        return name in ("portkey", "litellm")

    async def measure(
        self, who: str, what: str, connections: int, seconds: int, **more: Any
    ) -> dict[str, float]:
        """Measure a contestant under load; CPU and latency in seconds per response."""
        return await self.measure_server(
            self.servers[who], self.request(who, what, **more), connections, seconds
        )

    async def measure_server(
        self, server: Server, request: Request, connections: int, seconds: int
    ) -> dict[str, float]:
        """Measure a server under load; see `measure`."""
        before = server.cpu()
        got = await self.loader.load(server, request, connections, seconds)
        cpu = server.cpu() - before
        return {
            "cpu": cpu / got.requests,
            "cpu_per_gb": cpu / (got.size / _GB),
            "rate": got.requests / got.seconds,
            "p50": got.p50,
            "p99": got.p99,
        }


@asynccontextmanager
async def run_bench(environment: Environment) -> AsyncIterator[Bench]:
    """Start the mock provider in a temporary folder; yield the bench."""
    runs = HOME / "run"
    shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir(parents=True)
    folder = Path(tempfile.mkdtemp(dir=runs))
    try:
        async with AsyncExitStack() as stack:
            port, slow_port = free_port(), free_port()
            mock_url, slow_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{slow_port}"
            responses.write(folder, mock_url)
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
            contestants = {DIRECT: direct(), **all_contestants(environment)}
            made = Bench(site, Loader(environment.wrk, folder), session, mock, contestants)
            made.servers[DIRECT] = mock
            yield made
    finally:
        shutil.rmtree(runs, ignore_errors=True)
