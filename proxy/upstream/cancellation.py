"""Having a provider cancel what nobody waits for any more.

Whatever ends a conversation from outside, a client that has left, a job that is cancelled or a
deadline, cancels its task. The flow is told, and the request that it may have for that is sent by a
task of its own: what ends is not held up, and what is being cancelled cannot cut it off.
"""

from __future__ import annotations

import asyncio
import logging

from adapters.contract import Flow
from adapters.errors import FlowCancelled, ImageError
from adapters.http import ProviderRequest
from proxy.http.status import is_error
from proxy.routing.plan import Target
from proxy.upstream.connector import Connectors
from proxy.upstream.exchange import exchange

_LOG = logging.getLogger("easel")
_TIMEOUT = 5.0
"""How long a provider may take over it."""


class Cancellations:
    """Those that are under way."""

    def __init__(self, connectors: Connectors) -> None:
        self._connectors = connectors
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait(self) -> None:
        """Wait for all of them; none takes long."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def start(self, flow: Flow, target: Target) -> None:
        """Have the provider cancel what a flow asked for."""
        if request := cancel_flow(flow):
            task = asyncio.create_task(self._send(target, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, target: Target, request: ProviderRequest) -> None:
        try:
            async with (
                asyncio.timeout(_TIMEOUT),
                exchange(self._connectors, target, request) as response,
            ):
                said = str(response.status) if is_error(response.status) else ""
        except ImageError as error:
            said = error.code or error.message
        except TimeoutError:
            said = "timeout"
        if said:
            # Nobody waits to be told; the picture may be made, and paid for.
            _LOG.warning("%s did not cancel a job: %s", target.adapter.id, said)


def cancel_flow(flow: Flow) -> ProviderRequest | None:
    """Tell a flow that nobody wants its picture any more; give the request it has for that."""
    try:
        return flow.throw(FlowCancelled())
    except (FlowCancelled, ImageError, StopIteration):
        return None
    finally:
        flow.close()
