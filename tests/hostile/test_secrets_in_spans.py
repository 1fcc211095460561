"""Case 23: what a span tells whoever reads traces: no key, no prompt, no picture, no signed URL.

Every byte that a real receiver got is searched, whatever the way and whatever the provider says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from multidict import CIMultiDict

from proxy.jobs.keys import JOBS
from proxy.observability.tracing import attributes
from proxy.observability.tracing.spans import Tracer
from proxy.settings.schema import Tracing
from tests.support import secret_markers
from tests.support.gateway import (
    PATH,
    PNG,
    Gateway,
    Provider,
    Reply,
    always,
    gateway,
    json_reply,
    provider,
)
from tests.support.otlp import Received, fresh_receiver
from tests.support.repeating_provider import CREDENTIALS, GOOD, REPLIES, SETTINGS_TEXT, WAYS, _asked
from tests.support.secret_markers import GATEWAY_KEY, PROMPT, STORED, loose
from tests.support.waiting import until

MARKED = {"x-portkey-api-key": GATEWAY_KEY, "x-portkey-virtual-key": "up"}
SIGNED = "/a/PROMPTMARK.png?X-Signature=KEYMARK"


def leaks(seen: Received) -> list[str]:
    """Name what may be in no span, as it is and in every spelling."""
    assert seen.spans
    return loose(seen.raw.decode("utf-8", "replace"))


@asynccontextmanager
async def traced(
    reply: Reply, into: list[Received], kind: str = "openai"
) -> AsyncIterator[tuple[Gateway, Provider]]:
    """Run a gateway whose every secret is marked; what was traced of it is there at its end."""
    receiver = await fresh_receiver()
    async with provider(reply) as fake:
        base = fake.url + ("/v1" if kind == "openai" else "")
        stored = f"{{provider: {kind}, api_key: {STORED}, custom_host: '{base}'}}"
        tracing = f"{{endpoint: {receiver.url}, propagate: all}}"
        settings = f"virtual_keys: {{up: {stored}}}\ntracing: {tracing}\n"
        async with gateway(settings, SETTINGS_TEXT) as ours:
            yield ours, fake
    into.append(await receiver.got())


@pytest.mark.parametrize("kind", REPLIES)
async def test_what_a_provider_repeats_stands_in_no_span(kind: str) -> None:
    into: list[Received] = []
    async with traced(REPLIES[kind], into) as (ours, fake):
        for _, headers_for in CREDENTIALS.values():
            for headers, more in WAYS.values():
                await _asked(ours, {**headers_for(fake.url), **headers}, more)
    assert leaks(into[0]) == []
    assert {name for it in into[0].spans for name in it.attributes} <= attributes.ATTRIBUTES
    assert {name for it in into[0].spans for name in it.events} <= attributes.EVENTS


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", f"/v1/images/models/{STORED}/x?key={STORED}", {}, None),
        ("GET", f"/v1/images/jobs/{GATEWAY_KEY}?{PROMPT[:10]}", {}, None),
        ("DELETE", f"/v1/cache?namespace={STORED}", {}, None),
        ("POST", PATH + f"?key={STORED}", {}, {"prompt": PROMPT}),
        ("POST", PATH, {}, {"prompt": PROMPT, "model": PROMPT}),
        ("POST", PATH, {}, {"prompt": PROMPT, "model": STORED}),
        ("POST", PATH, {}, {"prompt": PROMPT, "model": f"x/{STORED}", "n": PROMPT}),
        ("POST", PATH, {"x-portkey-virtual-key": STORED}, {"prompt": PROMPT}),
        ("POST", PATH, {"x-portkey-config": STORED}, {"prompt": PROMPT}),
        ("POST", PATH, {"x-portkey-provider": STORED}, {"prompt": PROMPT}),
        ("POST", PATH, {"traceparent": STORED, "baggage": f"a={STORED}"}, {"prompt": PROMPT}),
        ("POST", PATH, {"tracestate": STORED, "idempotency-key": STORED}, {"prompt": PROMPT}),
        ("POST", PATH, {"x-portkey-metadata": STORED, "user-agent": STORED}, {"prompt": PROMPT}),
        ("POST", PATH, {"x-portkey-cache-namespace": STORED}, {"prompt": PROMPT}),
        ("POST", PATH, {"content-type": f"text/{STORED[:9]}"}, {"prompt": PROMPT}),
        ("POST", PATH, {"x-portkey-trace-id": f"{STORED}\u00e9"}, {"prompt": PROMPT}),
    ],
)
async def test_no_word_of_a_request_that_may_be_a_secret_stands_in_a_span(
    method: str, path: str, headers: dict[str, str], body: Any
) -> None:
    into: list[Received] = []
    async with traced(always(GOOD), into) as (ours, _):
        sent = {"content-type": "application/json", **MARKED, **headers}
        data = orjson.dumps(body) if body else None
        with suppress(aiohttp.ClientError):
            async with ours.session.request(
                method, ours.url + path, data=data, headers=sent
            ) as answer:
                await answer.read()
    assert leaks(into[0]) == []


async def test_a_signed_url_of_a_picture_stands_in_no_span() -> None:
    urls: list[str] = []

    async def reply(request: web.Request) -> web.Response:
        if request.path.endswith(".png"):
            return web.Response(body=PNG)
        if request.method == "POST":
            place = f"{request.url.origin()}/v1/get_result?id=KEYMARK"
            return json_reply({"id": "KEYMARK", "polling_url": place})
        urls.append(f"{request.url.origin()}{SIGNED}")
        return json_reply({"status": "Ready", "result": {"sample": urls[-1]}})

    into: list[Received] = []
    async with traced(reply, into, "black-forest-labs") as (ours, _):
        more = {"model": "flux-2-pro", "response_format": "b64_json"}
        got = await _asked(ours, MARKED, more)
    assert got.status == 200
    assert urls
    assert len(into[0].named("GET image")) == 1
    assert leaks(into[0]) == []
    assert b"X-Signature" not in into[0].raw


async def test_a_key_that_a_provider_names_as_its_model_stands_in_no_span() -> None:
    async def reply(request: web.Request) -> web.Response:
        return json_reply({**GOOD, "model": request.headers["authorization"].split()[-1]})

    into: list[Received] = []
    async with traced(reply, into) as (ours, _):
        assert (await _asked(ours, MARKED, {})).status == 200
    assert leaks(into[0]) == []


def _broken(*_: object) -> object:
    raise ValueError(f"{PROMPT} {STORED} {GATEWAY_KEY}")


@pytest.mark.parametrize(
    "place",
    [
        "pipeline.execute.final_params",
        "pipeline.converse._deliver_all",
        "jobs.recording.Recording.append",
    ],
)
async def test_a_bug_is_told_by_its_name(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"proxy.{place}", _broken)
    into: list[Received] = []
    async with traced(always(GOOD), into) as (ours, _):
        for headers in ({}, {"x-easel-keepalive": "1"}, {"prefer": "respond-async"}):
            await _asked(ours, {**MARKED, **headers}, {})
        await until(lambda: ours.app[JOBS].running_count == 0)
    assert leaks(into[0]) == []
    assert b"ValueError" in into[0].raw


async def test_a_key_or_a_prompt_in_a_span_would_be_found() -> None:
    receiver = await fresh_receiver()
    async with Tracer(Tracing(endpoint=receiver.url)) as tracer:
        for told in (STORED, PROMPT, secret_markers.PICTURE):
            with tracer.start_server_span("a", CIMultiDict[str](), {"x": told}):
                pass
    seen = await receiver.got()
    assert {"KEYMARK", "PROMPTMARK", secret_markers.PICTURE[:40], STORED} <= {*leaks(seen)}
