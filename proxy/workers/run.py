"""Run a gateway with several workers: reserve the address, supervise, clean up."""

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
from proxy.observability.process_log import configure, log_start, set_level
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
"""The CPU limit of a container (cgroup v2)."""


def run_workers(
    config: BootstrapConfig,
    settings: Settings,
    count: int,
    on_ready: Callable[[int], None],
) -> None:
    """Serve with `count` workers until SIGTERM or SIGINT; call `on_ready` with the port.

    `settings` are the parsed settings of `config`. Their file is watched for changes. Raises
    `CannotListenError`, and `NoWorkerError` if no worker can start.
    """
    configure(settings.log.level)
    forbid_core_dumps()
    state_server = StateServer()
    cache_index = CacheIndexServer(settings.cache.memory_bytes, settings.cache.disk_bytes)
    cache_folder = secrets.token_hex(8)
    with reserve_port(settings.server) as port, _unix_listener(settings.server) as unix:
        unix_fd = unix.socket.fileno() if unix else None

        def with_address(config: BootstrapConfig) -> BootstrapConfig:
            return msgspec.structs.replace(
                config, port=port, unix_fd=unix_fd, cache_folder=cache_folder
            )

        def config_for(text: str) -> BootstrapConfig:
            updated = with_address(config.with_text(text))
            set_level(updated.log_level)
            return updated

        def ready() -> None:
            log_start(settings, port, count)
            on_ready(port)

        state_server.restore(settings.state_dir)
        supervisor = Supervisor(
            with_address(config),
            count,
            state_server=state_server,
            on_ready=ready,
            config_for=config_for,
            shutdown_seconds=settings.server.shutdown_seconds,
            drain_seconds=settings.server.drain_seconds,
            # Later connections would wait in a backlog that no worker accepts from.
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
    """Run the supervisor, and pass changes of the settings file on to it."""
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
    """Open the Unix socket for all workers, if one is configured."""
    listeners = open_unix_listeners(server)
    try:
        yield listeners[0] if listeners else None
    finally:
        for listener in listeners:
            listener.close()


def worker_count(workers: int | str) -> int:
    """Return the number of workers; `auto` is one for each CPU available to this process."""
    return min(available_cpus(), MAX_WORKERS) if workers == AUTO else int(workers)


def available_cpus(quota: Path = _QUOTA) -> int:
    """Return the number of CPUs available to this process, by affinity and container limit."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # Not on Linux.
        cpus = os.cpu_count() or 1
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cpus, math.ceil(int(limit) / int(period))))
    except (OSError, ValueError):  # "max": no quota.
        return cpus
