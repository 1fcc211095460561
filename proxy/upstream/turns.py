"""Turns of the event loop, for long work that is done in short steps.

Work that yields to the loop after each step lets others run. But twenty such replies at once take
twenty steps in each turn, and every other request needs several turns. So all of them take turns:
one step of one of them in each.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

_LOCKS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def next_turn() -> None:
    """Wait for a turn of the event loop in which no other long work runs."""
    loop = asyncio.get_running_loop()
    lock = _LOCKS.get(loop)
    if lock is None:
        lock = _LOCKS[loop] = asyncio.Lock()
    async with lock:
        await asyncio.sleep(0)
