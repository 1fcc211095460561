"""Timeouts of a conversation: a block that takes too long raises an error of the gateway's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from proxy.errors import GatewayError, RequestTimeout, UpstreamFailed

ErrorFactory = Callable[[float], GatewayError]
"""Builds the exception to raise when the timeout (in seconds) expires."""


class Timeout:
    """A block that raises an error after `seconds`; with None it has no timeout until `schedule`.

    Like `asyncio.timeout`, but entered and left without a coroutine, and almost free without a
    timeout.
    """

    __slots__ = ("_earlier_cancels", "_has_expired", "_make_error", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float | None, make_error: ErrorFactory) -> None:
        self._seconds = seconds or 0.0
        self._make_error = make_error
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._earlier_cancels = 0
        self._has_expired = False

    def __enter__(self) -> Self:
        if self._seconds:
            self.schedule(asyncio.get_running_loop().time() + self._seconds)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.cancel()
        if not self._has_expired or self._task is None:
            return
        # If the task was also cancelled by another caller, the cancellation must go on.
        ours = self._task.uncancel() <= self._earlier_cancels
        if ours and kind is asyncio.CancelledError:
            raise self._make_error(self._seconds) from None

    @property
    def is_scheduled(self) -> bool:
        """Whether the timeout is running."""
        return self._timer is not None

    def schedule(self, when: float) -> None:
        """Start the timeout again, to expire at this time of the event loop's clock."""
        self.cancel()
        if self._task is None and (task := asyncio.current_task()):
            self._task, self._earlier_cancels = task, task.cancelling()
        self._timer = asyncio.get_running_loop().call_at(when, self._expire)

    def cancel(self) -> None:
        """Stop the timeout: the block may take as long as it needs."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        self._has_expired = True
        if self._task:
            self._task.cancel()


def request_timeout_error(seconds: float) -> RequestTimeout:
    """Return the error for the request's own timeout, in Portkey's words."""
    milliseconds = round(seconds * 1000)
    return RequestTimeout(f"Request exceeded the timeout sent in the request: {milliseconds}ms")


def total_timeout_error(seconds: float) -> UpstreamFailed:
    """Return the error for the operator's total timeout (`timeouts.total`)."""
    return UpstreamFailed(
        f"The provider did not finish within {seconds:g} seconds.", status=504, code="timeout"
    )
