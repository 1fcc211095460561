"""Waiting for a condition instead of a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable

_POLL_SECONDS = 0.01


async def until(condition: Callable[[], object | Awaitable[object]], seconds: float = 20.0) -> None:
    """Wait until a condition, possibly awaited, holds; raise TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if await result if isawaitable(result) else result:
                return
            await asyncio.sleep(_POLL_SECONDS)


def until_now(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait like `until`, without an event loop."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(_POLL_SECONDS)


async def forever() -> None:
    """Wait without end: only a cancellation or a timeout ends it."""
    await asyncio.Event().wait()
