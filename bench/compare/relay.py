"""A minimal, tuned aiohttp server: a relay, or a handler with a fixed response.

    python -m compare.relay PORT MOCK SLOW      POST /{what}/… goes to MOCK/{what}/…, or to SLOW
    python -m compare.relay PORT FOLDER         POST /{what}/… answers with FOLDER/{what}.json

It checks no key, parses nothing, stores nothing and writes no log.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

SLOW = ("wait", "events", "cut")
"""Prefixes of requests for the slow server."""
_PATH = "/{what}/v1/images/generations"
_BUFFERED_BYTES = 128 * 1024
"""Responses up to this size are buffered."""
_KEEP = ("content-type", "content-length")


def relaying(mock: str, slow: str) -> web.Application:
    """Relay to the mock provider."""
    sessions: list[aiohttp.ClientSession] = []

    async def relay(request: web.Request) -> web.StreamResponse:
        to = slow if request.match_info["what"].startswith(SLOW) else mock
        headers = {"content-type": "application/json", "authorization": "Bearer none"}
        body = await request.read()
        async with sessions[0].post(
            to + request.path, data=body, headers=headers, allow_redirects=False
        ) as got:
            kept = {name: got.headers[name] for name in _KEEP if name in got.headers}
            if got.content_length is not None and got.content_length <= _BUFFERED_BYTES:
                return web.Response(body=await got.read(), status=got.status, headers=kept)
            response = web.StreamResponse(status=got.status, headers=kept)
            await response.prepare(request)
            while chunk := await got.content.readany():
                await response.write(chunk)
            return response

    async def open_session(_: web.Application) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=75)
        unlimited = aiohttp.ClientTimeout(total=None)
        jar = aiohttp.DummyCookieJar()
        sessions.append(
            aiohttp.ClientSession(
                auto_decompress=False, cookie_jar=jar, connector=connector, timeout=unlimited
            )
        )

    app = web.Application(client_max_size=2**26)
    app.router.add_post(_PATH, relay)
    app.on_startup.append(open_session)
    return app


def static(folder: Path) -> web.Application:
    """Serve the files of a folder from memory."""
    bodies = {file.stem: file.read_bytes() for file in folder.glob("*.json")}

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        body = bodies[request.match_info["what"]]
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_post(_PATH, answer)
    return app


async def serve(app: web.Application, port: int) -> None:
    """Serve with the garbage collector frozen."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    await asyncio.Event().wait()


if __name__ == "__main__":
    given = sys.argv[2:]
    application = relaying(*given) if len(given) > 1 else static(Path(given[0]))
    uvloop.run(serve(application, int(sys.argv[1])))
