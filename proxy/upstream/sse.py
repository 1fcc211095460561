"""Reading a provider's server-sent events as they come, through its adapter."""

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
    """Give what each event tells of, at most `limit` bytes of events in all.

    Raises what an event that tells of a failure means, and `UpstreamFailed`. Where an event that
    may be an error repeats one of the `secrets`, it is blotted out.
    """
    async for event in _read_events(response, limit):
        answer = adapter.parse_event(call, Event(event.name, redact(event.data, secrets)).json())
        if answer.images or answer.usage:
            yield answer


async def _read_events(response: ClientResponse, limit: int) -> AsyncIterator[Event]:
    events = EventParser()
    while True:
        with map_client_errors():
            piece = await response.content.readany()
        if not piece:
            break
        limit -= len(piece)
        if limit < 0:
            raise reply_too_large()
        for event in events.feed(piece):
            yield event
    for event in events.flush():
        yield event
