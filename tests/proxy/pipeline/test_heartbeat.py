"""Silence between two pieces, told while nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from proxy.pipeline.heartbeat import or_silence


async def test_silence_is_told_and_no_piece_is_lost() -> None:
    again = asyncio.Event()

    async def pieces() -> AsyncIterator[int]:
        yield 1
        await again.wait()
        yield 2

    seen: list[int | None] = []
    async for piece in or_silence(pieces(), 0.01):
        seen.append(piece)
        if seen.count(None) == 2:
            again.set()
    assert [it for it in seen if it] == [1, 2]
    assert seen.index(None) > 0


async def test_whoever_stops_listening_leaves_nothing_running() -> None:
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(60)
            yield 1
        finally:
            ended.set()

    listening = or_silence(pieces(), 0.01)
    assert await anext(listening) is None
    await listening.aclose()
    await asyncio.wait_for(ended.wait(), 1)


async def test_whoever_has_stopped_listening_can_close_what_was_listened_to() -> None:
    async def pieces() -> AsyncGenerator[int, None]:
        await asyncio.sleep(60)
        yield 1

    heard = pieces()
    async with aclosing(or_silence(heard, 0.01)) as listening:
        assert await anext(listening) is None
    await heard.aclose()
