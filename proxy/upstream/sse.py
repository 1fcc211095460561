"""Reading a provider's server-sent events as they come, through its adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import ClientResponse

from adapters.contract import Adapter, Answer, ImageCall
from adapters.tools.sse import Event, Events
from proxy.upstream.errors import translated
from proxy.upstream.redact import blotted
from proxy.upstream.reply import too_much


async def told(
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
    async for event in _events(response, limit):
        answer = adapter.parse_event(call, Event(event.name, blotted(event.data, secrets)).json())
        if answer.images or answer.usage:
            yield answer


async def _events(response: ClientResponse, room: int) -> AsyncIterator[Event]:
    events = Events()
    while True:
        with translated():
            piece = await response.content.readany()
        if not piece:
            break
        room -= len(piece)
        if room < 0:
            raise too_much()
        for event in events.feed(piece):
            yield event
    for event in events.rest():
        yield event
