"""The studio's web application, and `Studio`, which runs it on a loopback port.

POST /v1/images/generations
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Self

from aiohttp import web

from adapters.errors import ImageError
from proxy.studio import answers
from proxy.studio.order import Order, read
from proxy.studio.painters import Painters
from proxy.studio.script import RETRY_LATER

PAINTERS = web.AppKey("painters", Painters)

_MOST_BODY = 32 << 20
_CHUNK = 256 << 10
_CLOSING_SECONDS = 1.0


class Studio:
    """The studio, open on a port of its own from `start` to `stop`."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Open the studio unless it is open, and give its base URL, `http://127.0.0.1:PORT/v1`."""
        async with self._door:
            if self._runner is None:
                self._runner = await _opened()
            host, port = self._runner.addresses[0]
            return f"http://{host}:{port}/v1"

    async def stop(self) -> None:
        """Close the studio; calls that are still waiting in it are cut after a second."""
        async with self._door:
            if self._runner is not None:
                await self._runner.cleanup()
                self._runner = None


async def _opened() -> web.AppRunner:
    runner = web.AppRunner(studio(), access_log=None, shutdown_timeout=_CLOSING_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def studio() -> web.Application:
    """Make the web application."""
    app = web.Application(client_max_size=_MOST_BODY)
    app.router.add_post("/v1/images/generations", generations)
    app.cleanup_ctx.append(_painting)
    return app


async def _painting(app: web.Application) -> AsyncIterator[None]:
    app[PAINTERS] = Painters()
    yield
    app[PAINTERS].close()


async def generations(request: web.Request) -> web.StreamResponse:
    """Draw what the body orders, or play what its script says."""
    try:
        order = read(await request.read())
        await asyncio.sleep(order.script.latency_ms / 1000)
        if failure := order.script.failure():
            raise failure
    except ImageError as error:
        return _failed(error)
    if order.stream:
        return await _stream(request, order)
    return await _document(request, order)


def _failed(error: ImageError) -> web.Response:
    return web.Response(
        status=error.status,
        headers={"retry-after": "1"} if error.status in RETRY_LATER else None,
        body=answers.failure(error),
        content_type="application/json",
    )


async def _document(request: web.Request, order: Order) -> web.StreamResponse:
    pieces = answers.document(order, await request.app[PAINTERS].pictures(order))
    response = web.StreamResponse(headers={"content-type": "application/json"})
    response.content_length = sum(map(len, pieces))
    async with Line(request, response, order.script.cut_after) as line:
        await line.write(pieces)
    return response


async def _stream(request: web.Request, order: Order) -> web.StreamResponse:
    headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
    response = web.StreamResponse(headers=headers)
    async with Line(request, response, order.script.cut_after) as line:
        for index in range(order.n):
            async for stage, text in request.app[PAINTERS].stages(order, index):
                await line.write(answers.event(order, stage, text))
    return response


class Line:
    """The way back to a client, open inside its `with` block, which ends early if the way breaks.

    It breaks when the client leaves, or after the `cut_after` bytes that the script leaves it.
    """

    def __init__(
        self, request: web.Request, response: web.StreamResponse, cut_after: int | None
    ) -> None:
        self._request = request
        self._response = response
        self._left = sys.maxsize if cut_after is None else cut_after

    async def __aenter__(self) -> Self:
        await self._response.prepare(self._request)
        await self._response.write(b"")  # the headers go now, not with the first bytes of the body
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, ConnectionError)

    async def write(self, pieces: answers.Pieces) -> None:
        """Send pieces of the body."""
        for piece in pieces:
            view = memoryview(piece)[: self._left]
            self._left -= len(view)
            for start in range(0, len(view), _CHUNK):
                await self._response.write(view[start : start + _CHUNK])
            if len(view) < len(piece):
                self._cut()

    def _cut(self) -> None:
        """Close the connection in mid-body: what was written still leaves, nothing more does."""
        if self._request.transport:
            self._request.transport.close()
        raise ConnectionAbortedError
