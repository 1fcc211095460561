"""The tests' vocabulary: a gateway on a real socket, and providers that do as they are told."""

from __future__ import annotations

import asyncio
import base64
import io
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from proxy.app import make_app
from proxy.context import IN_FLIGHT
from proxy.context import SETTINGS as SETTINGS_OF
from proxy.observability.access_log import ACCESS_LOG
from proxy.reload.live_settings import apply
from proxy.server.connection import client_runner
from proxy.server.run import server_logger
from proxy.settings.loader import parse
from proxy.state.ops import StateStore
from tests.support.waiting import until

KEY = "easel-test-key-0123456789"
OTHER_KEY = "easel-other-key-0123456789"
OURS = {"x-portkey-api-key": KEY}
PATH = "/v1/images/generations"
_LARGEST_BYTES = 1 << 20
"""aiohttp warns if more is sent as bytes."""
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)
B64 = base64.b64encode(PNG).decode()
ANSWER = {"created": 1, "data": [{"b64_json": B64}]}

SETTINGS = f"""
api_keys: {{test: {{key: {KEY}}}, other: {{key: {OTHER_KEY}}}}}
log: {{format: json}}
"""

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Answered:
    """What the gateway answered, read to its end."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


@dataclass
class Gateway:
    """A running gateway and a client of it. `log` holds the access lines."""

    url: str
    session: aiohttp.ClientSession
    app: web.Application
    log: io.StringIO

    async def ask(
        self, body: Any = None, *, method: str = "POST", path: str = PATH, **headers: str
    ) -> Answered:
        """Send one request; header names are written with underscores, `x-portkey-` left out."""
        named = {_header(name): value for name, value in headers.items()}
        data: Any = (
            body if isinstance(body, bytes) else None if body is None else orjson.dumps(body)
        )
        if data and len(data) > _LARGEST_BYTES:
            data = io.BytesIO(data)
        sent = {"content-type": "application/json", **OURS, **named}
        sent = {name: value for name, value in sent.items() if value}
        async with self.session.request(method, self.url + path, data=data, headers=sent) as got:
            return Answered(got.status, got.headers, await got.read())

    async def access_log(self) -> str:
        """Return the access lines, once every request has ended."""
        await until(lambda: not self.app[IN_FLIGHT])
        self.app[ACCESS_LOG].flush()
        return self.log.getvalue()

    async def reload(self, more: str = "", base: str = SETTINGS) -> list[str]:
        """Put other settings in force; gives what is wrong with them."""
        return list(map(str, await apply(self.app, base + more, "easel.yaml")))

    async def draw(self, prompt: str = "a cube", *, params: Any = None, **headers: str) -> Answered:
        """Ask for a picture."""
        return await self.ask({"prompt": prompt, **(params or {})}, **headers)


_PLAIN = (
    "x-",
    "authorization",
    "content-",
    "accept",
    "traceparent",
    "tracestate",
    "baggage",
    "prefer",
    "idempotency-",
    "via",
)


def _header(name: str) -> str:
    plain = name.replace("_", "-")
    known = plain.startswith(_PLAIN)
    return plain if known else f"x-portkey-{plain}"


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on a loopback port, with the options the gateway is served with."""
    runner = _runner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _runner(app: web.Application) -> web.AppRunner:
    options: Any = {"logger": server_logger(), "shutdown_timeout": 1}
    if SETTINGS_OF in app:
        return client_runner(app, **options)
    return web.AppRunner(app, access_log=None, max_field_size=40960, max_line_size=40960, **options)


@asynccontextmanager
async def gateway(
    more: str = "", base: str = SETTINGS, *, shared: StateStore | None = None, **environ: str
) -> AsyncIterator[Gateway]:
    """Run a gateway with further settings; polls of providers do not wait."""
    log = io.StringIO()

    async def at_once(seconds: float) -> None:
        del seconds

    with tempfile.TemporaryDirectory() as folder:
        read = parse(base + more, environ=environ)
        settings = replace(read, state_dir=folder, file_settings=read)
        app = make_app(settings, log_to=log, sleep=at_once, state_store=shared)
        async with served(app) as url, aiohttp.ClientSession(auto_decompress=False) as session:
            yield Gateway(url, session, app, log)


@dataclass
class Provider:
    """A provider that speaks OpenAI's shape and answers as it is told, keeping what it was sent."""

    url: str = ""
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    reply: Reply | None = None

    @property
    def sent(self) -> Any:
        """The last body it was sent."""
        return orjson.loads(self.bodies[-1])

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return await self.reply(request) if self.reply else json_reply(ANSWER)


def json_reply(body: Any, status: int = 200, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", headers=named
    )


def always(body: Any, status: int = 200, **headers: str) -> Reply:
    """Make a reply that is the same every time."""

    async def reply(request: web.Request) -> web.Response:
        del request
        return json_reply(body, status, **headers)

    return reply


async def let_go(pieces: list[Any]) -> None:
    """Wait until nobody else holds any of them: a thread does for a moment after it has written."""
    async with asyncio.timeout(10):
        while pieces:
            piece = pieces.pop()
            while sys.getrefcount(piece) > 2:  # noqa: ASYNC110, PLR2004 - the variable, and the asking
                await asyncio.sleep(0.01)


@asynccontextmanager
async def provider(reply: Reply | None = None) -> AsyncIterator[Provider]:
    """Run a provider at every path."""
    fake = Provider(reply=reply)
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", fake.answer)
    async with served(app) as url:
        fake.url = url
        yield fake


def key_to(fake: Provider, key: str = "test-key-0123456789") -> str:
    """Give the settings of the virtual key `up`."""
    return f"""
virtual_keys:
  up: {{provider: openai, api_key: {key}, custom_host: {fake.url}/v1}}
"""


@asynccontextmanager
async def gateway_to(
    reply: Reply | None = None, more: str = "", **environ: str
) -> AsyncIterator[tuple[Gateway, Provider]]:
    """Run a provider, and a gateway whose virtual key `up` leads to it."""
    async with (
        provider(reply) as fake,
        gateway(key_to(fake) + more, shared=None, **environ) as ours,
    ):
        yield ours, fake
