"""The commit point, and what comes after it.

`prepare()` commits. Before it a failure can still be explained; after it the connection is cut,
and nothing is ever written into a body that has begun.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientConnectionResetError, web

from adapters.errors import ImageError
from proxy.keys import ATTEMPT, FAILURE
from proxy.plan import Recording

CLIENT_GONE = "client_gone"
"""Why an answer was cut: nobody was left to read it."""


class Out:
    """Where the body of an answer goes: to the client, and into the recording if there is one."""

    __slots__ = ("_recording", "_response")

    def __init__(self, response: web.StreamResponse, recording: Recording | None) -> None:
        self._response = response
        self._recording = recording

    async def write(self, piece: bytes) -> None:
        """Write a piece; it goes on as the same object."""
        await self._response.write(piece)
        if self._recording:
            self._recording.add(piece)


@asynccontextmanager
async def committed(request: web.Request, response: web.StreamResponse) -> AsyncIterator[Out]:
    """Commit to `response` for a block that writes its body.

    Where the block fails, or the client has gone, the body that has begun is cut.
    """
    recording = request[ATTEMPT].recording
    if recording:
        recording.begin(response.status, response.content_type, response.content_length)
    try:
        await response.prepare(request)
        yield Out(response, recording)
    except ClientConnectionResetError:
        _cut(request, CLIENT_GONE)
    except ImageError as error:
        _cut(request, error.code or "cut")
    else:
        if recording:
            recording.complete = True


def _cut(request: web.Request, why: str) -> None:
    """End a body that has begun and cannot be finished: by cutting the connection."""
    request[FAILURE] = why
    if request.transport:
        request.transport.abort()
