"""The studio's web application, and `Studio`, which runs it on a loopback port.

POST /v1/images/generations
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

from aiohttp import web

from adapters.errors import ImageError
from proxy.sandbox import response as answers
from proxy.sandbox.faults import RETRY_LATER
from proxy.sandbox.render import RenderPool
from proxy.sandbox.request import SandboxRequest, parse_request

RENDER_POOL = web.AppKey("painters", RenderPool)

_MAX_BODY = 32 << 20
_CHUNK = 256 << 10
_CLOSING_SECONDS = 0.2


class SandboxServer:
    """The studio, open on a port of its own from `start` to `stop`."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Open the studio unless it is open, and give its base URL, `http://127.0.0.1:PORT/v1`."""
        async with self._lock:
            if self._runner is None:
                self._runner = await _start_runner()
            host, port = self._runner.addresses[0]
            return f"http://{host}:{port}/v1"

    async def stop(self) -> None:
        """Close the studio; calls that are still waiting in it are cut."""
        async with self._lock:
            if self._runner is not None:
                await self._runner.cleanup()
                self._runner = None


async def _start_runner() -> web.AppRunner:
    runner = web.AppRunner(sandbox_app(), access_log=None, shutdown_timeout=_CLOSING_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def sandbox_app() -> web.Application:
    """Make the web application."""
    app = web.Application(client_max_size=_MAX_BODY)
    app.router.add_post("/v1/images/generations", generations)
    app.cleanup_ctx.append(_render_pool)
    return app


async def _render_pool(app: web.Application) -> AsyncIterator[None]:
    app[RENDER_POOL] = RenderPool()
    yield
    app[RENDER_POOL].close()


async def generations(request: web.Request) -> web.StreamResponse:
    """Draw what the body orders, or play what its script says."""
    try:
        order = parse_request(await request.read())
        await asyncio.sleep(order.faults.latency_ms / 1000)
        if failure := order.faults.error():
            raise failure
    except ImageError as error:
        return _error_response(error)
    if order.stream:
        return await _send_stream(request, order)
    return await _send_json(request, order)


def _error_response(error: ImageError) -> web.Response:
    return web.Response(
        status=error.status,
        headers={"retry-after": "1"} if error.status in RETRY_LATER else None,
        body=answers.error_body(error),
        content_type="application/json",
    )


async def _send_json(request: web.Request, order: SandboxRequest) -> web.StreamResponse:
    pieces = answers.json_body(order, await request.app[RENDER_POOL].images(order))
    response = web.StreamResponse(headers={"content-type": "application/json"})
    response.content_length = sum(map(len, pieces))
    return await _send(request, response, _iterate(pieces), order.faults.cut_after)


async def _send_stream(request: web.Request, order: SandboxRequest) -> web.StreamResponse:
    headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
    response = web.StreamResponse(headers=headers)
    pieces = _events(request.app[RENDER_POOL], order)
    return await _send(request, response, pieces, order.faults.cut_after)


async def _events(painters: RenderPool, order: SandboxRequest) -> AsyncGenerator[bytes, None]:
    for index in range(order.n):
        async for stage, text in painters.stages(order, index):
            for piece in answers.sse_event(order, stage, text):
                yield piece


async def _iterate(pieces: answers.Pieces) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    pieces: AsyncGenerator[bytes, None],
    cut_after: int | None,
) -> web.StreamResponse:
    """Send a body as it is made: to its end, or until the client leaves or the script cuts it."""
    left = sys.maxsize if cut_after is None else cut_after
    async with aclosing(pieces):
        with suppress(ConnectionError):
            await response.prepare(request)
            await response.write(b"")  # the headers go now, not with the first piece
            async for piece in pieces:
                view = memoryview(piece)[:left]
                left -= len(view)
                await _write(response, view)
                if len(view) < len(piece):
                    _cut(request)
                    break
    return response


async def _write(response: web.StreamResponse, view: memoryview) -> None:
    """Write a piece in chunks: the socket's buffer never holds a second copy of a picture."""
    for start in range(0, len(view), _CHUNK):
        await response.write(view[start : start + _CHUNK])


def _cut(request: web.Request) -> None:
    """Close the connection: what was written still leaves, nothing more does."""
    if request.transport:
        request.transport.close()
