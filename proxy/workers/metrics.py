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
from proxy.workers.rpc import Fellows, Handler, Line, LineError

COUNTED, GONE = "counted", "gone"
"""What a worker is asked for, and what it asks of the supervisor."""
KEPT = "kept"
"""What a worker tells the supervisor, now and then."""
_EVERY_SECONDS = 1.0


class GoneCounts:
    """The supervisor's side: what workers that are gone had counted, as far as they told."""

    def __init__(self) -> None:
        self._last: dict[int, bytes] = {}
        self._gone = merge_snapshots(())

    def handlers(self, number: int) -> dict[str, Handler]:
        """Answer the worker of a number."""

        async def kept(snapshot: bytes) -> bytes:
            self._last[number] = snapshot
            return b""

        async def gone(_: bytes) -> bytes:
            return self._gone

        return {KEPT: kept, GONE: gone}

    def ended(self, number: int) -> None:
        """Note that a worker is gone."""
        with contextlib.suppress(msgspec.MsgspecError, KeyError):
            self._gone = merge_snapshots((), (self._gone, self._last.pop(number)))


class Counts:
    """A worker's side. `own` gives what this one has counted; run as a context."""

    def __init__(self, line: Line, own: Callable[[], bytes]) -> None:
        self._line = line
        self._own = own
        self._telling: asyncio.Task[None] | None = None

        async def counted(_: bytes) -> bytes:
            return own()

        line.handlers[COUNTED] = counted

    async def all(self) -> bytes:
        """Give what all have counted; this one's own where the supervisor does not answer."""
        try:
            living = await Fellows(self._line).ask(COUNTED)
            return merge_snapshots(living, (await self._line.call(GONE),))
        except LineError:
            return self._own()

    async def tell(self) -> None:
        """Tell the supervisor what this one has counted, should it end all at once."""
        with contextlib.suppress(LineError):
            await self._line.call(KEPT, self._own())

    async def __aenter__(self) -> None:
        self._telling = asyncio.create_task(self._tell_often())

    async def __aexit__(self, *_: object) -> None:
        if self._telling:
            self._telling.cancel()
        await self.tell()

    async def _tell_often(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.tell()
