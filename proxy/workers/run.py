"""Runs a gateway of several workers, from its first to its last moment."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from proxy.blobs.retention import CACHE_PREFIX, remove_cache_folder
from proxy.blobs.store import local_folder
from proxy.reload.watcher import watch_settings_file
from proxy.server.listeners import Listener, open_unix_listeners
from proxy.server.process import forbid_core_dumps
from proxy.settings.loader import Settings
from proxy.settings.schema import AUTO, MAX_WORKERS, Server
from proxy.workers.bootstrap import Orders
from proxy.workers.cache_index import CacheIndexServer
from proxy.workers.port import reserved
from proxy.workers.shared_state import Hub
from proxy.workers.supervisor import Supervisor

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container may use of the machine's cores, in cgroups of version 2."""


def run_workers(
    orders: Orders,
    settings: Settings,
    count: int,
    ready: Callable[[int], None],
) -> None:
    """Serve with so many workers until SIGTERM or SIGINT; `ready` gets the port.

    `settings` are what the orders come to; the file of theirs is followed. Raises
    `CannotListenError`, and `NoWorkerError` where none can start.
    """
    forbid_core_dumps()
    hub = Hub()
    cache = CacheIndexServer(settings.cache.memory_bytes, settings.cache.disk_bytes)
    common = secrets.token_hex(8)
    with reserved(settings.server) as port, _unix(settings.server) as unix:
        number = unix.socket.fileno() if unix else None

        def here(made: Orders) -> Orders:
            return msgspec.structs.replace(made, port=port, unix=number, cache=common)

        hub.restore(settings.state_dir)
        supervisor = Supervisor(
            here(orders),
            count,
            hub=hub,
            ready=lambda: ready(port),
            anew=lambda text: here(orders.anew(text)),
            shutdown_seconds=settings.server.shutdown_seconds,
            drain_seconds=settings.server.drain_seconds,
            # Whoever came after that would stand in a queue that nobody empties.
            drained=unix.remove if unix else lambda: None,
            handlers=cache.handlers,
        )
        try:
            asyncio.run(_run(supervisor, settings))
        finally:
            hub.save(settings.state_dir)
            if folder := local_folder(settings):
                remove_cache_folder(folder / CACHE_PREFIX / common)


async def _run(supervisor: Supervisor, settings: Settings) -> None:
    """Keep workers running, and have them take what the settings file says."""
    if not settings.file:
        await supervisor.run()
        return
    watches = settings.server.watches_settings
    async with watch_settings_file(
        settings.file, supervisor, version=settings.version, watches=watches
    ):
        await supervisor.run()


@contextlib.contextmanager
def _unix(server: Server) -> Iterator[Listener | None]:
    """Listen on the unix socket for all workers, if there is one."""
    made = open_unix_listeners(server)
    try:
        yield made[0] if made else None
    finally:
        for listener in made:
            listener.close()


def count(workers: int | str) -> int:
    """Give a number of workers; `auto` is one for each core that this process may use."""
    return min(cores(), MAX_WORKERS) if workers == AUTO else int(workers)


def cores(quota: Path = _QUOTA) -> int:
    """Count the cores that this process may use: by its affinity, and by its container's quota."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # Not on Linux.
        found = os.cpu_count() or 1
    try:
        share, period = quota.read_text(encoding="ascii").split()
        return max(1, min(found, math.ceil(int(share) / int(period))))
    except (OSError, ValueError):  # "max": no quota.
        return found
