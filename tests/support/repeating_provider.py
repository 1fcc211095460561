"""A provider that repeats what it was sent, and a gateway whose outputs are watched for secrets."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from proxy.context import SETTINGS
from tests.support import secret_markers
from tests.support.gateway import (
    PATH,
    Answered,
    Gateway,
    Provider,
    Reply,
    always,
    gateway,
    json_reply,
    provider,
)
from tests.support.secret_markers import Sinks, listening

SETTINGS_TEXT = f"""
api_keys:
  test: {{key: {secret_markers.GATEWAY_KEY}}}
  other: {{key: {secret_markers.OTHER_KEY}}}
log: {{format: json}}
trusted_custom_hosts: [127.0.0.1]
redis:
  url: "redis+sentinel://:{secret_markers.PASSWORD}@127.0.0.1:1/m"
  sentinel_password: "{secret_markers.PASSWORD}"
  timeout_seconds: 0.1
blobs: {{signing_key: {secret_markers.SIGNING}}}
"""
GOOD = {"created": 1, "data": [{"b64_json": secret_markers.PICTURE}]}


def _said(request: web.Request, body: bytes) -> str:
    """Repeat everything that a request holds: keys, prompt and all."""
    head = " ".join(f"{name}: {value}" for name, value in request.headers.items())
    return f"{request.raw_path} {head} {body.decode()}"


def repeating(status: int, shape: Callable[[str], Any], **headers: str) -> Reply:
    """Make a provider that answers with an error in which it repeats what it was sent."""

    async def reply(request: web.Request) -> web.Response:
        tree = shape(_said(request, await request.read()))
        return json_reply(tree, status, **headers)

    return reply


async def _page(request: web.Request) -> web.Response:
    text = f"<html>{_said(request, await request.read())}</html>"
    return web.Response(status=502, text=text, content_type="text/html")


async def _headers(request: web.Request) -> web.Response:
    key = request.headers["authorization"]
    named = {"x-debug": key, "www-authenticate": key, "x-request-id": key.split()[-1]}
    return json_reply({"error": {"message": "no"}}, 400, **named)


async def _redirect(request: web.Request) -> web.Response:
    place = f"https://127.0.0.1/?key={request.headers['authorization']}"
    return web.Response(status=307, headers={"location": place})


async def _compressed(request: web.Request) -> web.Response:
    tree = {"error": {"message": _said(request, await request.read())}}
    packed = gzip.compress(orjson.dumps(tree))
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    return web.Response(status=400, body=packed, headers=headers)


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    response.content_length = 1 << 20
    await response.prepare(request)
    await response.write(_said(request, await request.read()).encode())
    assert request.transport
    request.transport.abort()
    return response


async def _events(request: web.Request) -> web.Response:
    tree = {"type": "error", "error": {"message": _said(request, await request.read())}}
    body = b"event: error\ndata: " + orjson.dumps(tree) + b"\n\n"
    return web.Response(body=body, content_type="text/event-stream")


def _error(said: str) -> Any:
    return {"error": {"message": said, "type": said, "code": said, "param": said}}


REPLIES: dict[str, Reply] = {
    "a picture": always(GOOD),
    "a picture and its words": repeating(200, lambda said: {**GOOD, "note": said}),
    **{f"an error {it}": repeating(it, _error) for it in (400, 401, 403, 404, 429, 500, 503)},
    "a plain error": repeating(400, lambda said: {"error": said}),
    "a list of errors": repeating(422, lambda said: {"detail": [{"loc": [said], "msg": said}]}),
    "an error as a success": repeating(200, _error),
    "a text": repeating(400, lambda said: said),
    "a page": _page,
    "headers": _headers,
    "a redirect": _redirect,
    "gzip": _compressed,
    "a cut answer": _cut,
    "events": _events,
}


CREDENTIALS: dict[str, tuple[str, Callable[[str], dict[str, str]]]] = {
    "stored": (secret_markers.STORED, lambda _: {"x-portkey-virtual-key": "up"}),
    "sent": (
        secret_markers.SENT,
        lambda url: {
            "authorization": f"Bearer {secret_markers.SENT}",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{url}/v1",
        },
    ),
    "inline": (
        secret_markers.INLINE,
        lambda url: {
            "x-portkey-config": orjson.dumps(
                {
                    "strategy": {"mode": "fallback"},
                    "targets": [
                        {
                            "provider": "openai",
                            "api_key": secret_markers.INLINE,
                            "custom_host": f"{url}/v1",
                            "retry": {"attempts": 1, "on_status_codes": [429, 500]},
                            "cache": {"mode": "simple"},
                        }
                    ]
                    * 2,
                }
            ).decode()
        },
    ),
}


WAYS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "plainly": ({}, {}),
    "streamed": ({}, {"stream": True}),
    "dry": ({"x-easel-dry-run": "true"}, {}),
    "in a while": ({"x-easel-keepalive": "1"}, {}),
    "by URL": ({}, {"response_format": "url"}),
    "oddly": (
        {},
        {
            secret_markers.PROMPT: secret_markers.PROMPT,
            "user": secret_markers.PROMPT,
            "size": secret_markers.PROMPT,
        },
    ),
}


@asynccontextmanager
async def watched(reply: Reply) -> AsyncIterator[tuple[Gateway, Provider, Sinks]]:
    """Run a gateway whose every secret is marked, and hear all that it says."""
    with listening() as sinks:
        async with provider(reply) as fake:
            key = secret_markers.STORED
            stored = f"{{provider: openai, api_key: {key}, custom_host: {fake.url}/v1}}"
            async with gateway(f"virtual_keys: {{up: {stored}}}\n", SETTINGS_TEXT) as ours:
                yield ours, fake, sinks
                await asyncio.sleep(0)
                sinks.note_files(ours.app[SETTINGS].state_dir)
            sinks.log.write(ours.log.getvalue())


async def _asked(ours: Gateway, headers: dict[str, str], more: dict[str, Any]) -> Answered:
    sent = {
        "content-type": "application/json",
        "x-portkey-api-key": secret_markers.GATEWAY_KEY,
        **headers,
    }
    body = orjson.dumps({"prompt": secret_markers.PROMPT, "model": "gpt-image-1", **more})
    async with ours.session.post(ours.url + PATH, data=body, headers=sent) as got:
        try:
            return Answered(got.status, got.headers, await got.read())
        except Exception:  # noqa: BLE001 - an answer that was cut says no more
            return Answered(got.status, got.headers, b"")
