"""Runs a gateway of several workers, from its first to its last moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import msgspec

from proxy.core_dumps import forbid_core_dumps
from proxy.sections import Server
from proxy.settings import Settings
from proxy.sockets import unix_listeners
from proxy.workers.hub import Hub
from proxy.workers.orders import Orders
from proxy.workers.reserving import reserved
from proxy.workers.supervisor import Supervisor


def run_workers(
    orders: Orders,
    settings: Settings,
    count: int,
    ready: Callable[[int], None],
    again: Callable[[], Orders],
) -> None:
    """Serve with so many workers until SIGTERM or SIGINT; `ready` gets the port.

    `settings` are what the orders come to. `again` gives new ones on SIGHUP; it may raise
    `SettingsError`. Raises `CannotListenError`, and `NoWorkerError` where none can start.
    """
    forbid_core_dumps()
    hub = Hub()
    with reserved(settings.server) as port, _unix(settings.server) as unix:

        def here(made: Orders) -> Orders:
            return msgspec.structs.replace(made, port=port, unix=unix)

        hub.restore(settings.state_dir)
        supervisor = Supervisor(
            here(orders),
            count,
            hub=hub,
            ready=lambda: ready(port),
            again=lambda: here(again()),
            shutdown_seconds=settings.server.shutdown_seconds,
        )
        try:
            asyncio.run(supervisor.run())
        finally:
            hub.save(settings.state_dir)


@contextlib.contextmanager
def _unix(server: Server) -> Iterator[int | None]:
    """Listen on the unix socket for all workers, if there is one; gives its number."""
    made = unix_listeners(server)
    try:
        yield made[0].socket.fileno() if made else None
    finally:
        for listener in made:
            listener.close()
