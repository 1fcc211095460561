"""Reads a provider's server-sent events through its adapter, as they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import ClientResponse

from adapters.contract import Adapter, Answer, ImageCall
from adapters.tools.sse import Event, EventParser
from proxy.upstream.errors import map_client_errors
from proxy.upstream.redact import redact
from proxy.upstream.reply import reply_too_large


async def stream_answers(
    response: ClientResponse,
    adapter: Adapter,
    call: ImageCall,
    limit: int,
    secrets: frozenset[str] = frozenset(),
) -> AsyncIterator[Answer]:
    """Yield the answer in each event that has one; events may have `limit` bytes in all.

    Raises `UpstreamFailed`, and the adapter's error for an event that reports a failure. The
    `secrets` are redacted in every event that may be an error.
    """
    async for event in _read_events(response, limit):
        answer = adapter.parse_event(call, Event(event.name, redact(event.data, secrets)).json())
        if answer.images or answer.usage:
            yield answer


async def _read_events(response: ClientResponse, limit: int) -> AsyncIterator[Event]:
    events = EventParser()
    while True:
        with map_client_errors():
            chunk = await response.content.readany()
        if not chunk:
            break
        limit -= len(chunk)
        if limit < 0:
            raise reply_too_large()
        for event in events.feed(chunk):
            yield event
    for event in events.flush():
        yield event
