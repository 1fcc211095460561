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
from proxy.workers.bootstrap import BootstrapConfig
from proxy.workers.cache_index import CacheIndexServer
from proxy.workers.port import reserve_port
from proxy.workers.shared_state import StateServer
from proxy.workers.supervisor import Supervisor

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container may use of the machine's cores, in cgroups of version 2."""


def run_workers(
    config: BootstrapConfig,
    settings: Settings,
    count: int,
    on_ready: Callable[[int], None],
) -> None:
    """Serve with so many workers until SIGTERM or SIGINT; `ready` gets the port.

    `settings` are what the orders come to; the file of theirs is followed. Raises
    `CannotListenError`, and `NoWorkerError` where none can start.
    """
    forbid_core_dumps()
    state_server = StateServer()
    cache_index = CacheIndexServer(settings.cache.memory_bytes, settings.cache.disk_bytes)
    cache_folder = secrets.token_hex(8)
    with reserve_port(settings.server) as port, _unix_listener(settings.server) as unix:
        unix_fd = unix.socket.fileno() if unix else None

        def with_address(made: BootstrapConfig) -> BootstrapConfig:
            return msgspec.structs.replace(made, port=port, unix=unix_fd, cache=cache_folder)

        state_server.restore(settings.state_dir)
        supervisor = Supervisor(
            with_address(config),
            count,
            state_server=state_server,
            on_ready=lambda: on_ready(port),
            config_for=lambda text: with_address(config.with_text(text)),
            shutdown_seconds=settings.server.shutdown_seconds,
            drain_seconds=settings.server.drain_seconds,
            # Whoever came after that would stand in a queue that nobody empties.
            on_drained=unix.remove if unix else lambda: None,
            handlers=cache_index.handlers,
        )
        try:
            asyncio.run(_run(supervisor, settings))
        finally:
            state_server.save(settings.state_dir)
            if folder := local_folder(settings):
                remove_cache_folder(folder / CACHE_PREFIX / cache_folder)


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
def _unix_listener(server: Server) -> Iterator[Listener | None]:
    """Listen on the unix socket for all workers, if there is one."""
    made = open_unix_listeners(server)
    try:
        yield made[0] if made else None
    finally:
        for listener in made:
            listener.close()


def worker_count(workers: int | str) -> int:
    """Give a number of workers; `auto` is one for each core that this process may use."""
    return min(available_cpus(), MAX_WORKERS) if workers == AUTO else int(workers)


def available_cpus(quota: Path = _QUOTA) -> int:
    """Count the cores that this process may use: by its affinity, and by its container's quota."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # Not on Linux.
        cpus = os.cpu_count() or 1
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cpus, math.ceil(int(limit) / int(period))))
    except (OSError, ValueError):  # "max": no quota.
        return cpus
