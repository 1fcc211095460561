"""Reads a provider's server-sent events through its adapter, as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientResponse

from adapters.contract import Adapter, Answer, ImageCall
from adapters.tools.sse import Event, EventParser
from proxy.upstream.errors import ended_early
from proxy.upstream.redact import redact
from proxy.upstream.reply import PARSED_IN_LOOP, read_plain
from proxy.upstream.reply_limits import check_values
from proxy.upstream.turns import next_turn

_EVENTS_PER_TURN = 20
"""Events that are parsed in one turn of the event loop."""


async def stream_answers(  # noqa: PLR0913, PLR0917 - the same as `read_reply`
    response: ClientResponse,
    adapter: Adapter,
    call: ImageCall,
    limit: int,
    secrets: frozenset[str] = frozenset(),
    head: bytes = b"",
) -> AsyncIterator[Answer]:
    """Yield the answer in each event that has one; events may have `limit` bytes in all.

    Raises `UpstreamFailed`, at the end also if an event was cut, and the adapter's error for an
    event that reports a failure. The `secrets` are redacted in every event that may be an error.
    `head` was already read.
    """
    is_cut = False
    async for event in _read_events(response, limit, head):
        await check_values(event.data)
        data = await _parse(redact(event.data, secrets))
        is_cut = is_cut or (data is None and event.data.lstrip()[:1] == b"{")
        answer = adapter.parse_event(call, data)
        if answer.images or answer.usage:
            yield answer
    if is_cut:
        raise ended_early()


async def _parse(data: bytes) -> Any:
    """Return the parsed data of an event, None if it is not JSON; in a thread if it is large."""
    event = Event("", data)
    return await asyncio.to_thread(event.json) if len(data) > PARSED_IN_LOOP else event.json()


async def _read_events(response: ClientResponse, limit: int, head: bytes) -> AsyncIterator[Event]:
    events = EventParser()
    async for chunk in read_plain(response, limit, head):
        for number, event in enumerate(events.feed(chunk), 1):
            yield event
            if number % _EVENTS_PER_TURN == 0:
                await next_turn()
    for event in events.flush():
        yield event
