"""Supervision of background tasks: one that fails is logged and started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from proxy.errors import traceback_summary

_LOG = logging.getLogger("easel")

RESTART_SECONDS = 1.0
"""Pause before a failed task is started again."""


async def run_supervised(
    name: str, run: Callable[[], Awaitable[None]], pause: float = RESTART_SECONDS
) -> None:
    """Run a background task; log an exception that ends it, and start it again.

    Ends when the task ends by itself or is cancelled.
    """
    while True:
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - any error may end any task, and none may stay unnoticed
            _LOG.error("background task %s failed: %s", name, traceback_summary(error))  # noqa: TRY400 - a summary
            await asyncio.sleep(pause)
        else:
            return
