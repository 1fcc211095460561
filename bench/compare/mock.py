"""The mock provider: nginx for fast responses, this module for slow, streamed and cut ones.

python -m compare.mock PORT
"""

from __future__ import annotations

import asyncio
import sys
import time
from base64 import b64encode
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from . import responses

EVENTS = ("partial_image", "partial_image", "completed")
BETWEEN = 0.05
"""Seconds between two events."""
_PREVIEW = 200_000

_NGINX = """\
worker_processes 1; daemon off; master_process off; pid {folder}/{name}.pid;
error_log {folder}/{name}.log crit;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off; server_tokens off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_max_body_size 64m; client_body_buffer_size 64k; default_type application/json;
  client_body_temp_path {folder}/{name}-1; proxy_temp_path {folder}/{name}-2;
  fastcgi_temp_path {folder}/{name}-3; uwsgi_temp_path {folder}/{name}-4;
  scgi_temp_path {folder}/{name}-5;
{servers}
}}
"""
_FILES = """\
  sendfile on; tcp_nopush on; open_file_cache max=100 inactive=3600s; open_file_cache_valid 3600s;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {folder}; error_page 405 =200 $uri;
    location ~ ^/(?<what>[a-z-]+)/v1/images/generations$ {{ try_files /$what.json =404; }}
    location /images/ {{ alias {folder}/; types {{ image/png png; }} }}
  }}
"""
_PROXY = """\
  upstream mock {{ server {mock}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""


def nginx_of_files(folder: Path, port: int) -> str:
    """Write the config of an nginx that serves the response files; return its path."""
    return _write_config(folder, "mock", _FILES.format(folder=folder, port=port))


def nginx_as_proxy(folder: Path, port: int, mock: str) -> str:
    """Write the config of an nginx that relays everything; return its path."""
    return _write_config(folder, "proxy", _PROXY.format(port=port, mock=mock.partition("//")[2]))


def _write_config(folder: Path, name: str, servers: str) -> str:
    file = folder / f"{name}.conf"
    file.write_text(_NGINX.format(folder=folder, name=name, servers=servers), encoding="utf-8")
    return str(file)


def slow() -> web.Application:
    """Serve `/wait-MS/…`, `/events/…`, `/cut/…` (half a body) and `/open` (number waiting)."""
    small, large = responses.answer(responses.SIZES["small"]), responses.answer(1_000_000)

    waiting: list[None] = []

    async def wait(request: web.Request) -> web.Response:
        await request.read()
        waiting.append(None)
        try:
            await asyncio.sleep(int(request.match_info["ms"]) / 1000)
        finally:
            waiting.pop()
        return web.Response(body=small, content_type="application/json")

    async def count(_: web.Request) -> web.Response:
        return web.Response(text=str(len(waiting)))

    async def cut(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = len(large)
        await response.prepare(request)
        await response.write(large[: len(large) // 2])
        await asyncio.sleep(0.01)
        if request.transport:
            request.transport.abort()
        return response

    async def events(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for at, kind in enumerate(EVENTS):
            await asyncio.sleep(BETWEEN)
            await response.write(event(kind, at))
        return response

    app = web.Application()
    app.router.add_get("/open", count)
    app.router.add_post("/wait-{ms}/v1/images/generations", wait)
    app.router.add_post("/cut/v1/images/generations", cut)
    app.router.add_post("/events/v1/images/generations", events)
    return app


_IMAGE = b64encode(responses.png(_PREVIEW)).decode()


def event(kind: str, at: int) -> bytes:
    """Return an event in OpenAI's format whose `created_at` is this machine's monotonic clock."""
    data = {
        "type": f"image_generation.{kind}",
        "created_at": time.monotonic_ns(),
        "partial_image_index": at,
        "background": "opaque",
        "output_format": "png",
        "quality": "high",
        "size": "1024x1024",
        "b64_json": _IMAGE,
    }
    return b"event: image_generation.%b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(data))


async def _serve(port: int) -> None:
    runner = web.AppRunner(slow(), access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=8192).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
