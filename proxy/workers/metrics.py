"""Metrics of all workers together, including workers that have exited: counters never decrease.

Each worker sends its metrics to the supervisor once a second. The worker that serves a scrape
collects the current ones from all workers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from proxy.observability.metrics.merge import merge_snapshots
from proxy.workers.rpc import Handler, Peers, RpcConnection, RpcError

SNAPSHOT = "metrics"
"""Call to a worker: return its metrics."""
REPORT, EXITED = "report_metrics", "exited_metrics"
"""Calls to the supervisor: store a worker's metrics; return those of exited workers."""
_REPORT_INTERVAL_SECONDS = 1.0


class ExitedWorkersMetrics:
    """The supervisor's side: the last reported metrics of workers that have exited."""

    def __init__(self) -> None:
        self._snapshots: dict[int, bytes] = {}
        self._exited = merge_snapshots(())

    def handlers(self, number: int) -> dict[str, Handler]:
        """Return the RPC handlers for a worker."""

        async def store(snapshot: bytes) -> bytes:
            self._snapshots[number] = snapshot
            return b""

        async def exited(_: bytes) -> bytes:
            return self._exited

        return {REPORT: store, EXITED: exited}

    def on_exit(self, number: int) -> None:
        """Add the last metrics of a worker that has exited."""
        with contextlib.suppress(msgspec.MsgspecError, KeyError):
            self._exited = merge_snapshots((), (self._exited, self._snapshots.pop(number)))


class AllWorkersMetrics:
    """A worker's side; an async context manager that reports to the supervisor while it is open.

    `snapshot` returns the metrics of this worker.
    """

    def __init__(self, connection: RpcConnection, snapshot: Callable[[], bytes]) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._reporting: asyncio.Task[None] | None = None

        async def answer(_: bytes) -> bytes:
            return snapshot()

        connection.handlers[SNAPSHOT] = answer

    async def collect(self) -> bytes:
        """Return the metrics of all workers, or only its own if the supervisor does not answer."""
        try:
            snapshots = await Peers(self._connection).broadcast(SNAPSHOT)
            return merge_snapshots(snapshots, (await self._connection.call(EXITED),))
        except RpcError:
            return self._snapshot()

    async def report(self) -> None:
        """Send the metrics of this worker to the supervisor, in case it is killed."""
        with contextlib.suppress(RpcError):
            await self._connection.call(REPORT, self._snapshot())

    async def __aenter__(self) -> None:
        self._reporting = asyncio.create_task(self._report_loop())

    async def __aexit__(self, *_: object) -> None:
        if self._reporting:
            self._reporting.cancel()
        await self.report()

    async def _report_loop(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_INTERVAL_SECONDS)
            await self.report()
