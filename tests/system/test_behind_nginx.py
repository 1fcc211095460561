"""Behind a real nginx, on its defaults, that gives up before the picture is made.

It is Debian's: `apt-get install nginx-light`. Where it is missing these tests are skipped, and fail
in CI.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.support.gateway import (
    ANSWER,
    B64,
    KEY,
    OURS,
    PATH,
    Gateway,
    Provider,
    Reply,
    gateway_to,
    json_reply,
)

MAKING_SECONDS = 3
PATIENCE_SECONDS = 2
"""Less than a picture takes, and more than the shortest keepalive."""
KEPT = {"virtual_key": "up", "x_easel_keepalive": "1"}

CONFIG = """
daemon off;
pid {folder}/pid;
error_log {folder}/error_log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{before}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            proxy_read_timeout {patience}s;
{more}
        }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: str, before: str = "", more: str = "") -> Iterator[str]:
    """Run nginx before a server; gives its URL.

    `before` stands in the configuration before its server, `more` where it passes requests on.
    """
    command = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if command is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs the package nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        file = folder / "nginx.conf"
        values = {"upstream": upstream, "patience": PATIENCE_SECONDS, "before": before}
        file.write_text(CONFIG.format(folder=folder, port=port, more=more, **values))
        # It takes over a socket that listens already, as in an upgrade of its binary: the port is
        # ours beyond doubt, and a client need not wait for its start.
        with subprocess.Popen(  # noqa: S603 - Debian's own command
            [command, "-e", str(folder / "error_log"), "-p", str(folder), "-c", str(file)],
            env={**os.environ, "NGINX": f"{listening.fileno()};"},
            pass_fds=[listening.fileno()],
        ) as process:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


async def slow(request: web.Request) -> web.Response:
    """Take longer than nginx has patience."""
    del request
    await asyncio.sleep(MAKING_SECONDS)
    return json_reply(ANSWER)


@asynccontextmanager
async def behind_nginx(folder: Path, reply: Reply) -> AsyncIterator[tuple[Gateway, Provider]]:
    """Run a provider, a gateway, and nginx before it; the gateway's URL is nginx's."""
    async with gateway_to(reply) as (ours, fake):
        with nginx(folder, ours.url) as ours.url:
            yield ours, fake


async def test_without_keepalive_nginx_gives_up_and_the_retry_collects(tmp_path: Path) -> None:
    seen: list[int] = []

    async def see(response: Any) -> None:
        seen.append(response.status_code)

    options: dict[str, Any] = {"default_headers": {"x-portkey-virtual-key": "up"}, "api_key": KEY}
    async with (
        behind_nginx(tmp_path, slow) as (ours, fake),
        DefaultAsyncHttpxClient(event_hooks={"response": [see]}, trust_env=False) as http,
        AsyncOpenAI(base_url=f"{ours.url}/v1", http_client=http, **options) as client,
    ):
        answer = await client.images.generate(prompt="a cube", timeout=10)
        assert seen == [504, 200]
        assert answer.data
        assert (answer.data[0].b64_json, len(fake.requests)) == (B64, 1)


async def test_with_keepalive_nginx_does_not_give_up(tmp_path: Path) -> None:
    async with behind_nginx(tmp_path, slow) as (ours, fake):
        drawn, told = await asyncio.gather(
            ours.draw("a", **KEPT), ours.draw("b", params={"stream": True}, **KEPT)
        )
        assert (drawn.status, drawn.json) == (200, ANSWER)
        assert (told.status, told.body.count(b"event: image_generation.completed")) == (200, 1)
        assert len(fake.requests) == 2


async def test_nginx_lets_the_whitespace_through_while_the_picture_is_made(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def reply(request: web.Request) -> web.Response:
        del request
        await heard.wait()
        return json_reply(ANSWER)

    async with behind_nginx(tmp_path, reply) as (ours, _), asyncio.timeout(10):
        named = {**OURS, "x-portkey-virtual-key": "up", "x-easel-keepalive": "1"}
        asked = {"prompt": "a cube"}
        async with ours.session.post(ours.url + PATH, json=asked, headers=named) as got:
            assert await got.content.readexactly(1) == b" "
            heard.set()
            assert await got.json() == ANSWER
