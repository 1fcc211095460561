"""Deadlines of a conversation: a block that takes too long ends in a failure with a name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from proxy.errors import GatewayError, RequestTimeout, UpstreamFailed

ErrorFactory = Callable[[float], GatewayError]
"""Says what it means that so many seconds have run out."""


class Timeout:
    """A block that ends after `seconds` by raising `late`; None: when the alarm is set.

    What `asyncio.timeout` does, without a coroutine to enter and to leave, and at next to no cost
    where there is none.
    """

    __slots__ = ("_alarm", "_cancelling", "_is_due", "_late", "_seconds", "_task")

    def __init__(self, seconds: float | None, late: ErrorFactory) -> None:
        self._seconds = seconds or 0.0
        self._late = late
        self._alarm: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._is_due = False

    def __enter__(self) -> Self:
        if self._seconds:
            self.schedule(asyncio.get_running_loop().time() + self._seconds)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.cancel()
        if not self._is_due or self._task is None:
            return
        # Another may have cancelled the task as well: then it is not ours to end that.
        ours = self._task.uncancel() <= self._cancelling
        if ours and kind is asyncio.CancelledError:
            raise self._late(self._seconds) from None

    @property
    def is_scheduled(self) -> bool:
        """Whether it will end the block."""
        return self._alarm is not None

    def schedule(self, when: float) -> None:
        """Have it end the block at a time of the loop's clock."""
        self.cancel()
        if self._task is None and (task := asyncio.current_task()):
            self._task, self._cancelling = task, task.cancelling()
        self._alarm = asyncio.get_running_loop().call_at(when, self._expire)

    def cancel(self) -> None:
        """Let the block take as long as it takes."""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None

    def _expire(self) -> None:
        self._alarm = None
        self._is_due = True
        if self._task:
            self._task.cancel()


def request_timeout_error(seconds: float) -> RequestTimeout:
    """Say, in Portkey's words, that the request's own timeout ran out."""
    milliseconds = round(seconds * 1000)
    return RequestTimeout(f"Request exceeded the timeout sent in the request: {milliseconds}ms")


def total_timeout_error(seconds: float) -> UpstreamFailed:
    """Say that the operator's deadline ran out."""
    return UpstreamFailed(
        f"The provider was still working after {seconds:g} seconds.", status=504, code="timeout"
    )
