"""Cancels jobs at providers that no client waits for any more.

A client that disconnects, a cancelled job and a timeout all cancel the conversation's task. The
flow is notified, and the cancel request that it may answer with is sent by a task of its own, so
that it neither delays the cancellation nor is cut off by it.
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
"""Seconds that the provider may take to answer a cancel request."""


class Cancellations:
    """The cancel requests in progress."""

    def __init__(self, connectors: Connectors) -> None:
        self._connectors = connectors
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait(self) -> None:
        """Wait until all of them have ended, at most a few seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def start(self, flow: Flow, target: Target) -> None:
        """Ask the provider, in the background, to cancel the job of a flow."""
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
                failure = str(response.status) if is_error(response.status) else ""
        except ImageError as error:
            failure = error.code or error.message
        except TimeoutError:
            failure = "timeout"
        if failure:
            # No client is left to tell. The image may be generated, and charged.
            _LOG.warning("%s did not cancel a job: %s", target.adapter.id, failure)


def cancel_flow(flow: Flow) -> ProviderRequest | None:
    """Notify a flow that its image is not needed; return its cancel request, if it has one."""
    try:
        return flow.throw(FlowCancelled())
    except (FlowCancelled, ImageError, StopIteration):
        return None
    finally:
        flow.close()
