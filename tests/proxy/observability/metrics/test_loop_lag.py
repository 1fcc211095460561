"""A loop that is held up is seen to be late."""

from __future__ import annotations

import asyncio
import time

from proxy.observability.metrics.loop_lag import LoopLag

_HELD = 0.8
"""Seconds: longer than it takes until somebody looks."""


async def test_a_loop_that_was_held_up_was_late() -> None:
    lag = LoopLag()
    lag.start()
    assert lag.seconds == 0
    time.sleep(_HELD)  # noqa: ASYNC251 - that is what is to be seen
    async with asyncio.timeout(10):
        while not lag.seconds:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
    lag.stop()
    assert lag.seconds > _HELD / 4


async def test_nobody_looks_after_the_end() -> None:
    lag = LoopLag()
    lag.start()
    lag.stop()
    lag.stop()
    time.sleep(_HELD)  # noqa: ASYNC251 - see above
    await asyncio.sleep(0)
    assert lag.seconds == 0
