"""The commit point, and what comes after it.

`prepare()` commits. Before it a failure can still be explained; after it the connection is cut,
and nothing is ever written into a body that has begun.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from adapters.errors import ImageError
from proxy.keys import ATTEMPT, FAILURE

CLIENT_GONE = "client_gone"
"""Why an answer was cut: nobody was left to read it."""


async def poured(
    request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Commit to `response` and write its body; each piece goes on as the same object.

    Where the pieces end in a failure, or the client has gone, the body that has begun is cut.
    """
    recording = request[ATTEMPT].recording
    if recording:
        recording.begin(response.status, response.content_type, response.content_length)
    try:
        async with aclosing(pieces):
            await response.prepare(request)
            async for piece in pieces:
                await response.write(piece)
                if recording:
                    recording.add(piece)
    except ConnectionError:  # aiohttp raises its own, and this one where a slow reader breaks off
        _cut(request, CLIENT_GONE)
    except ImageError as error:
        _cut(request, error.code or "cut")
    else:
        if recording:
            recording.complete = True
    return response


def _cut(request: web.Request, why: str) -> None:
    """End a body that has begun and cannot be finished: by cutting the connection."""
    request[FAILURE] = why
    if request.transport:
        request.transport.abort()
