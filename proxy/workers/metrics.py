"""What all workers have counted, those that are gone included: numbers must never fall.

Each worker tells the supervisor what it has counted once a second, and any of them asks all the
others when somebody asks it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from proxy.observability.metrics.merge import merge_snapshots
from proxy.workers.rpc import Handler, Peers, RpcConnection, RpcError

SNAPSHOT, EXITED = "counted", "gone"
"""What a worker is asked for, and what it asks of the supervisor."""
REPORT = "kept"
"""What a worker tells the supervisor, now and then."""
_REPORT_INTERVAL_SECONDS = 1.0


class ExitedWorkersMetrics:
    """The supervisor's side: what workers that are gone had counted, as far as they told."""

    def __init__(self) -> None:
        self._snapshots: dict[int, bytes] = {}
        self._exited = merge_snapshots(())

    def handlers(self, number: int) -> dict[str, Handler]:
        """Answer the worker of a number."""

        async def store(snapshot: bytes) -> bytes:
            self._snapshots[number] = snapshot
            return b""

        async def exited(_: bytes) -> bytes:
            return self._exited

        return {REPORT: store, EXITED: exited}

    def on_exit(self, number: int) -> None:
        """Note that a worker is gone."""
        with contextlib.suppress(msgspec.MsgspecError, KeyError):
            self._exited = merge_snapshots((), (self._exited, self._snapshots.pop(number)))


class AllWorkersMetrics:
    """A worker's side. `own` gives what this one has counted; run as a context."""

    def __init__(self, connection: RpcConnection, snapshot: Callable[[], bytes]) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._reporting: asyncio.Task[None] | None = None

        async def counted(_: bytes) -> bytes:
            return snapshot()

        connection.handlers[SNAPSHOT] = counted

    async def collect(self) -> bytes:
        """Give what all have counted; this one's own where the supervisor does not answer."""
        try:
            snapshots = await Peers(self._connection).broadcast(SNAPSHOT)
            return merge_snapshots(snapshots, (await self._connection.call(EXITED),))
        except RpcError:
            return self._snapshot()

    async def report(self) -> None:
        """Tell the supervisor what this one has counted, should it end all at once."""
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
