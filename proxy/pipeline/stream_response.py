"""The commit point, and what comes after it.

`prepare()` commits. Before it a failure can still be explained; after it the connection is cut,
and nothing is ever written into a body that has begun.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from adapters.errors import ImageError
from proxy.context import ATTEMPT, ERROR_CODE


async def poured(
    request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Commit to `response` and write its body; each piece goes on as the same object.

    Where the pieces end in a failure, the body that has begun can only be cut: it is raised.
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
                # It may have gone to disk by now, and the next one be long in coming.
                del piece
    except ImageError as error:
        request[ERROR_CODE] = error.code or "cut"
        raise
    if recording:
        recording.complete = True
    return response
