"""Comments between events, so that nobody on the way takes a long silence for an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")

BEAT = b": keep-alive\n\n"
"""A comment: every reader of server-sent events passes it over."""


async def or_silence(pieces: AsyncIterator[T], seconds: float) -> AsyncGenerator[T | None, None]:
    """Give each piece as it comes, and None after each `seconds` in which none came.

    Close it, or `pieces` is still being asked for its next one.
    """
    coming = asyncio.ensure_future(_next(pieces))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=seconds)
            if not done:
                yield None
                continue
            try:
                piece = coming.result()
            except StopAsyncIteration:
                return
            yield piece
            del piece, done  # What has gone is not held until the next comes.
            coming = asyncio.ensure_future(_next(pieces))
    finally:
        coming.cancel()
        await asyncio.wait({coming})


async def _next(pieces: AsyncIterator[T]) -> T:
    return await anext(pieces)
