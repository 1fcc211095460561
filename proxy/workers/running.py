"""Runs a gateway of several workers, from its first to its last moment."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator

import msgspec

from proxy.blobs.leftovers import CACHE, clear
from proxy.blobs.store import folder_of
from proxy.core_dumps import forbid_core_dumps
from proxy.reloading.following import following
from proxy.sections import Server
from proxy.settings import Settings
from proxy.sockets import unix_listeners
from proxy.workers.cache_index import CacheHub
from proxy.workers.hub import Hub
from proxy.workers.orders import Orders
from proxy.workers.reserving import reserved
from proxy.workers.supervisor import Supervisor


def run_workers(
    orders: Orders,
    settings: Settings,
    count: int,
    ready: Callable[[int], None],
) -> None:
    """Serve with so many workers until SIGTERM or SIGINT; `ready` gets the port.

    `settings` are what the orders come to. Raises `CannotListenError`, and `NoWorkerError` where
    none can start.
    """
    forbid_core_dumps()
    hub = Hub()
    cache = CacheHub(settings.cache.memory_bytes, settings.cache.disk_bytes)
    common = secrets.token_hex(8)
    with reserved(settings.server) as port, _unix(settings.server) as unix:
        hub.restore(settings.state_dir)
        supervisor = Supervisor(
            msgspec.structs.replace(orders, port=port, unix=unix, cache=common),
            count,
            hub=hub,
            ready=lambda: ready(port),
            settings=settings,
            handlers=cache.handlers,
        )
        try:
            asyncio.run(_supervised(supervisor, settings))
        finally:
            hub.save(settings.state_dir)
            if folder := folder_of(settings):
                clear(folder / CACHE / common)


async def _supervised(supervisor: Supervisor, settings: Settings) -> None:
    """Run a supervisor, who follows the settings file for all, if there is one."""
    if not settings.file:
        await supervisor.run()
        return
    version, watches = settings.version, settings.server.watches
    async with following(settings.file, supervisor, version=version, watches=watches):
        await supervisor.run()


@contextlib.contextmanager
def _unix(server: Server) -> Iterator[int | None]:
    """Listen on the unix socket for all workers, if there is one; gives its number."""
    made = unix_listeners(server)
    try:
        yield made[0].socket.fileno() if made else None
    finally:
        for listener in made:
            listener.close()
