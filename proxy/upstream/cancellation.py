"""Having a provider cancel what nobody waits for any more.

Whatever ends a conversation from outside, a client that has left, a job that is cancelled or a
deadline, cancels its task. The flow is told, and the request that it may have for that is sent by a
task of its own: what ends is not held up, and what is being cancelled cannot cut it off.
"""

from __future__ import annotations

import asyncio
import logging

from adapters.contract import Flow
from adapters.errors import Abandoned, ImageError
from adapters.http import ProviderRequest
from proxy.http.status import is_error
from proxy.routing.plan import Target
from proxy.upstream.connector import Dialer
from proxy.upstream.exchange import exchange

_LOG = logging.getLogger("easel")
_SECONDS = 5.0
"""How long a provider may take over it."""


class Cancellations:
    """Those that are under way."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._under_way: set[asyncio.Task[None]] = set()

    async def ended(self) -> None:
        """Wait for all of them; none takes long."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    def begin(self, flow: Flow, target: Target) -> None:
        """Have the provider cancel what a flow asked for."""
        if request := abandoned(flow):
            task = asyncio.create_task(self._sent(target, request))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _sent(self, target: Target, request: ProviderRequest) -> None:
        try:
            async with (
                asyncio.timeout(_SECONDS),
                exchange(self._dialer, target, request) as response,
            ):
                said = str(response.status) if is_error(response.status) else ""
        except ImageError as error:
            said = error.code or error.message
        except TimeoutError:
            said = "timeout"
        if said:
            # Nobody waits to be told; the picture may be made, and paid for.
            _LOG.warning("%s did not cancel a job: %s", target.adapter.id, said)


def abandoned(flow: Flow) -> ProviderRequest | None:
    """Tell a flow that nobody wants its picture any more; give the request it has for that."""
    try:
        return flow.throw(Abandoned())
    except (Abandoned, ImageError, StopIteration):
        return None
    finally:
        flow.close()
