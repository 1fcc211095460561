"""The processes of a storm: the gateways, Redis, the honest caller's provider, the attacker's."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from compare.servers import Server, free_port, running

from .storm import Layout, Storm

_ROOT = Path(__file__).parents[2]
_ENVIRON = {"PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "bench")]), "NO_PROXY": "*"}


@dataclass(frozen=True)
class Processes:
    """The running processes of a storm."""

    gateways: list[Server]
    stores: list[Server]
    provider: Server
    attacker: Server

    @property
    def urls(self) -> list[str]:
        """The gateways' URLs."""
        return [it.url for it in self.gateways]

    def reset_peak(self) -> None:
        """Reset the peak of the gateways' memory, and of what they share."""
        for server in (*self.gateways, *self.stores):
            server.reset_peak()

    def peak(self) -> int:
        """Return the sum of the peaks: at least what all took together at any time."""
        return sum(it.memory("VmHWM") for it in (*self.gateways, *self.stores))


@asynccontextmanager
async def start(storm: Storm, folder: Path) -> AsyncIterator[Processes]:
    """Start the processes of a storm."""
    async with AsyncExitStack() as stack:

        async def run(name: str, module: str, *arguments: str) -> Server:
            port = free_port()
            command = [sys.executable, "-m", module, *(it.format(port=port) for it in arguments)]
            server = running(
                name, command, port, core=None, folder=folder, environ=_ENVIRON, cwd=folder
            )
            return await stack.enter_async_context(server)

        provider = await run("provider", "storm.provider", "{port}")
        attacker = await run("attacker", "storm.attacker_process", "{port}", storm.name)
        settings = storm.settings_yaml(provider.url, attacker.url)
        stores: list[Server] = []
        if storm.layout is Layout.NODES:
            port = free_port()
            redis = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
            store = running("redis", redis, port, core=None, folder=folder)
            stores.append(await stack.enter_async_context(store))
            settings += f"redis: {{url: 'redis://127.0.0.1:{port}'}}\n"
            settings += f"blobs: {{store: {folder / 'blobs'}, signing_key: {'s' * 40}}}\n"
        gateways = []
        for number in range(2 if storm.layout is Layout.NODES else 1):
            file = _write(folder / f"node-{number}", storm, settings)
            serve = ("serve", "--config", str(file), "--port", "{port}")
            gateways.append(await run(f"gateway-{number}", storm.module, *serve))
        yield Processes(gateways, stores, provider, attacker)


def _write(folder: Path, storm: Storm, settings: str) -> Path:
    """Write the settings of a node; return the file."""
    folder.mkdir()
    workers = 2 if storm.layout is Layout.WORKERS else 1
    file = folder / "easel.yaml"
    file.write_text(
        f"{settings}state_dir: {folder / 'state'}\n"
        f"server: {{workers: {workers}, shutdown_seconds: 0}}\n",
        encoding="utf-8",
    )
    return file
