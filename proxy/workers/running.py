"""Runs a gateway of several workers, from its first to its last moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from proxy.core_dumps import forbid_core_dumps
from proxy.settings import Settings
from proxy.workers.hub import Hub
from proxy.workers.orders import Orders
from proxy.workers.reserving import reserved
from proxy.workers.supervisor import Supervisor


def run_workers(
    orders: Orders,
    settings: Settings,
    count: int,
    ready: Callable[[str, int], None],
    again: Callable[[], Orders],
) -> None:
    """Serve with so many workers until SIGTERM or SIGINT; `ready` gets host and port.

    `settings` are what the orders come to. `again` gives new ones on SIGHUP; it may raise
    `SettingsError`. Raises `NotFreeError`, and `NoWorkerError` where none can start.
    """
    forbid_core_dumps()
    hub = Hub()
    with reserved(orders.host, orders.port) as port:
        hub.restore(settings.state_dir)
        supervisor = Supervisor(
            msgspec.structs.replace(orders, port=port),
            count,
            hub=hub,
            ready=lambda: ready(orders.host, port),
            again=lambda: msgspec.structs.replace(again(), port=port),
            shutdown_seconds=settings.server.shutdown_seconds,
        )
        try:
            asyncio.run(supervisor.run())
        finally:
            hub.save(settings.state_dir)
