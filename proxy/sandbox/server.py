"""The sandbox's web application, and `SandboxServer`, which runs it on a loopback port.

POST /v1/images/generations
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.errors import ImageError
from proxy.sandbox.faults import RETRY_LATER
from proxy.sandbox.render import RenderPool
from proxy.sandbox.request import SandboxRequest, parse_request
from proxy.sandbox.response import Chunks, error_body, json_body, sse_event

RENDER_POOL = web.AppKey("painters", RenderPool)

SECRET_HEADER = "easel-process-secret"  # noqa: S105 - a header's name
CALLER_HEADER = "easel-process-caller"
"""Whose request it is, in any form that tells callers apart."""
_MAX_BODY = 32 << 20
_CHUNK = 256 << 10
_CLOSING_SECONDS = 0.2


class SandboxServer:
    """The sandbox server, listening on a free port from `start` to `stop`.

    `headers` have the secret with which this process is told apart from all others that can reach
    a loopback port: other users of the machine, and web pages by DNS rebinding.
    """

    def __init__(self) -> None:
        self.headers = {SECRET_HEADER: secrets.token_hex(32)}
        self._lock = asyncio.Lock()
        self._runner: web.AppRunner | None = None

    def headers_for(self, caller: str) -> dict[str, str]:
        """Return the headers of a request for a caller."""
        return {**self.headers, CALLER_HEADER: f"{hash(caller):x}"}

    async def start(self) -> str:
        """Start the server unless it runs; return its base URL, `http://127.0.0.1:PORT/v1`."""
        async with self._lock:
            if self._runner is None:
                self._runner = await _start_runner(self.headers[SECRET_HEADER])
            host, port = self._runner.addresses[0]
            return f"http://{host}:{port}/v1"

    async def stop(self) -> None:
        """Stop the server; requests in progress are cut."""
        async with self._lock:
            if self._runner is not None:
                await self._runner.cleanup()
                self._runner = None


async def _start_runner(secret: str) -> web.AppRunner:
    runner = web.AppRunner(sandbox_app(secret), access_log=None, shutdown_timeout=_CLOSING_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def sandbox_app(secret: str) -> web.Application:
    """Return the web application; it serves only requests with the secret."""

    @web.middleware
    async def check_secret(request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = request.headers.get(SECRET_HEADER, "").encode(errors="surrogateescape")
        if not hmac.compare_digest(sent, secret.encode()):
            raise web.HTTPForbidden
        return await handler(request)

    app = web.Application(client_max_size=_MAX_BODY, middlewares=[check_secret])
    app.router.add_post("/v1/images/generations", generations)
    app.cleanup_ctx.append(_render_pool)
    return app


async def _render_pool(app: web.Application) -> AsyncIterator[None]:
    app[RENDER_POOL] = RenderPool()
    yield
    app[RENDER_POOL].close()


async def generations(request: web.Request) -> web.StreamResponse:
    """Handle a request: draw its images, or inject its faults."""
    try:
        parsed = parse_request(await request.read())
        await asyncio.sleep(parsed.faults.latency_ms / 1000)
        if failure := parsed.faults.error():
            raise failure
        with request.app[RENDER_POOL].reserve(parsed, _caller(request)):
            if parsed.stream:
                return await _send_stream(request, parsed)
            return await _send_json(request, parsed)
    except ImageError as error:
        return _error_response(error)


def _caller(request: web.Request) -> str:
    return request.headers.get(CALLER_HEADER, "")


def _error_response(error: ImageError) -> web.Response:
    return web.Response(
        status=error.status,
        headers={"retry-after": "1"} if error.status in RETRY_LATER else None,
        body=error_body(error),
        content_type="application/json",
    )


async def _send_json(request: web.Request, parsed: SandboxRequest) -> web.StreamResponse:
    chunks = json_body(parsed, await request.app[RENDER_POOL].images(parsed, _caller(request)))
    response = web.StreamResponse(headers={"content-type": "application/json"})
    response.content_length = sum(map(len, chunks))
    return await _send(request, response, _iterate(chunks), parsed.faults.cut_after)


async def _send_stream(request: web.Request, parsed: SandboxRequest) -> web.StreamResponse:
    headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
    response = web.StreamResponse(headers=headers)
    chunks = _events(request.app[RENDER_POOL], parsed, _caller(request))
    return await _send(request, response, chunks, parsed.faults.cut_after)


async def _events(
    pool: RenderPool, parsed: SandboxRequest, caller: str
) -> AsyncGenerator[bytes, None]:
    for index in range(parsed.n):
        stages = await pool.stages(parsed, index, caller)
        for stage in range(len(stages)):
            text, stages[stage] = stages[stage], b""
            for chunk in sse_event(parsed, stage, text):
                yield chunk


async def _iterate(chunks: Chunks) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    chunks: AsyncGenerator[bytes, None],
    cut_after: int | None,
) -> web.StreamResponse:
    """Send a body as it is produced, until its end, a disconnect or the requested cut."""
    left = sys.maxsize if cut_after is None else cut_after
    async with aclosing(chunks):
        with suppress(ConnectionError):
            await response.prepare(request)
            await response.write(b"")  # the headers go now, not with the first chunk
            async for chunk in chunks:
                view = memoryview(chunk)[:left]
                left -= len(view)
                await _write(response, view)
                if len(view) < len(chunk):
                    _cut(request)
                    break
    return response


async def _write(response: web.StreamResponse, view: memoryview) -> None:
    """Write a chunk in parts, so that the socket's buffer never holds a copy of an image."""
    for start in range(0, len(view), _CHUNK):
        await response.write(view[start : start + _CHUNK])


def _cut(request: web.Request) -> None:
    """Close the connection after what was written."""
    if request.transport:
        request.transport.close()
