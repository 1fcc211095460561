"""The form of the response: what was asked for, at every size and for every kind of reply."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from proxy.blobs.keys import BLOBS
from proxy.errors import BlobStoreFailed
from tests.support.gateway import (
    B64,
    PNG,
    Gateway,
    Provider,
    Reply,
    always,
    gateway,
    json_reply,
    key_to,
    provider,
)

UP = {"virtual_key": "up"}
LONG = B64[:-4] + "A" * 270_000
LONG += "A" * (-len(LONG) % 4)


@asynccontextmanager
async def _served(reply: Reply, more: str = "") -> AsyncIterator[tuple[Gateway, Provider]]:
    """Run a provider that also serves PNG for any GET, and a gateway that has its key."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(body=PNG, content_type="image/png")
        return await reply(request)

    async with provider(answer) as fake:
        others = (
            f"  together: {{provider: together-ai, api_key: k, custom_host: {fake.url}/v1}}\n"
            f"  renamed: {{provider: openai, api_key: k, custom_host: {fake.url}/v1}}\n"
        )
        trusted = "trusted_custom_hosts: [127.0.0.1]\n"
        async with gateway(key_to(fake) + others + trusted + more) as ours:
            yield ours, fake


def _by_url(rest: str = "") -> Reply:
    async def reply(request: web.Request) -> web.Response:
        url = f"http://{request.host}/image.png"
        return json_reply({"created": 1, "data": [{"url": url}], "note": rest})

    return reply


def _base64(text: str) -> Reply:
    return always({"created": 1, "data": [{"b64_json": text}]})


async def test_requested_form_holds_at_every_size() -> None:
    cases: list[tuple[str, Reply, str]] = []
    for size, text, rest in (("short", B64, ""), ("long", LONG, "n" * 300_000)):
        cases += [
            (f"{size} base64, url", _base64(text), "url"),
            (f"{size} base64, b64_json", _base64(text), "b64_json"),
            (f"{size} url, b64_json", _by_url(rest), "b64_json"),
            (f"{size} url, url", _by_url(rest), "url"),
        ]
    for name, reply, form in cases:
        async with _served(reply) as (ours, _):
            got = await ours.draw(params={"response_format": form}, **UP)
            assert got.status == 200, (name, got.body[:300])
            [entry] = got.json["data"]
            assert set(entry) == {form}, name
            if form == "url" and "base64" in name:
                assert "/v1/blobs/" in entry["url"] or entry["url"].startswith(ours.url), name


async def test_form_follows_the_model_that_the_client_named() -> None:
    rename = {"virtual_key": "up", "override_params": {"model": "gpt-image-2"}}
    to_other = {"virtual_key": "together", "override_params": {"model": "black-forest-labs/x"}}
    for model, form in (
        ("dall-e-2", "url"),
        ("dall-e-3", "url"),
        ("@up/dall-e-3", "url"),
        ("gpt-image-2", "b64_json"),
        ("chatgpt-image-latest", "b64_json"),
    ):
        for size, text in (("short", B64), ("long", LONG)):
            for sent, reply in (("base64", _base64(text)), ("url", _by_url())):
                async with _served(reply) as (ours, _):
                    for config in ({"virtual_key": "up"}, rename, to_other):
                        got = await ours.draw(
                            params={"model": model}, config=orjson.dumps(config).decode()
                        )
                        name = model, size, sent, config
                        assert got.status == 200, (name, got.body[:300])
                        assert set(got.json["data"][0]) == {form}, name


async def test_other_models_get_what_the_provider_sends() -> None:
    for params in ({}, {"model": "flux"}, {"model": None}, {"model": "dall-e-30b"[:6]}):
        for sent, reply in (("b64_json", _base64(B64)), ("url", _by_url())):
            async with _served(reply) as (ours, _):
                got = await ours.draw(params=params, **UP)
                assert set(got.json["data"][0]) == {sent}, (params, sent)


async def test_form_that_nobody_asked_for_never_costs_the_image() -> None:
    async def gone(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(status=403)
        return json_reply({"data": [{"url": f"http://{request.host}/image.png"}]})

    async with provider(gone) as fake, gateway(key_to(fake)) as ours:
        got = await ours.draw(params={"model": "gpt-image-2"}, **UP)
        assert (got.status, set(got.json["data"][0])) == (200, {"url"})
    for text in (B64, LONG):
        async with _served(_base64(text)) as (ours, _):

            async def full(*_: object, **__: object) -> Any:
                raise BlobStoreFailed("Full.")

            ours.app[BLOBS].put = full  # type: ignore[method-assign]
            got = await ours.draw(params={"model": "dall-e-3"}, **UP)
            assert (got.status, set(got.json["data"][0])) == (200, {"b64_json"})


def _stream(body: bytes, content_type: str = "text/event-stream") -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        if not content_type:
            response = web.StreamResponse()
            response.headers["content-type"] = ""
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body)
            return response
        return web.Response(body=body, headers={"content-type": content_type})

    return reply


def _events(text: str, kind: str = "image_generation.completed") -> bytes:
    preview = {"type": "image_generation.partial_image", "b64_json": B64, "partial_image_index": 0}
    done = {"type": kind, "b64_json": text, "created_at": 7, "usage": {"total_tokens": 3}}
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(it["type"]).encode(), orjson.dumps(it))
        for it in (preview, done)
    )


async def test_events_that_nobody_asked_for_become_json() -> None:
    for size, text in (("short", B64), ("long", LONG)):
        for content_type in ("text/event-stream", "text/plain", "application/octet-stream", "x/y"):
            for start in (b"", b": hello\n\n", b"\xef\xbb\xbf"):
                body = start + _events(text) + b"data: [DONE]\n\n"
                async with _served(_stream(body, content_type)) as (ours, fake):
                    for key in ("up", "together"):
                        name = size, content_type, start, key
                        got = await ours.draw(params={"model": "m"}, virtual_key=key)
                        assert got.status == 200, (name, got.body[:300])
                        assert got.headers["content-type"].startswith("application/json"), name
                        assert [it["b64_json"] for it in got.json["data"]] == [text], name
                        assert got.json["usage"]["total_tokens"] == 3, name
                    assert len(fake.requests) == 2


async def test_unasked_events_keep_the_requested_form_errors_and_number() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"message":"Not today.","code":"c"}}\n\n'
    async with _served(_stream(_events(LONG))) as (ours, _):
        got = await ours.draw(params={"response_format": "url"}, **UP)
        assert set(got.json["data"][0]) == {"url"}
    async with _served(_stream(_events(B64) + _events(B64))) as (ours, _):
        assert len((await ours.draw(params={"n": 2}, **UP)).json["data"]) == 2
    for body in (error, _events(B64)[:150] + b"\n\n" + error):
        async with _served(_stream(body)) as (ours, _):
            got = await ours.draw(**UP)
            assert got.status == 502
            assert "Not today." in got.error["message"]


async def test_asked_events_are_understood_whatever_type_they_declare() -> None:
    for size, text in (("short", B64), ("long", LONG)):
        for content_type in ("text/plain", "application/octet-stream", "", "text/event-stream"):
            async with _served(_stream(_events(text), content_type)) as (ours, _):
                got = await ours.draw(params={"stream": True}, **UP)
                assert got.headers["content-type"] == "text/event-stream", (size, content_type)
                assert got.body == _events(text), (size, content_type)


async def test_asked_events_and_got_json() -> None:
    for text in (B64, LONG):
        for content_type in ("application/json", "text/plain", "text/event-stream"):
            body = orjson.dumps({"created": 1, "data": [{"b64_json": text}]})
            async with _served(_stream(body, content_type)) as (ours, _):
                for key in ("up", "together"):
                    got = await ours.draw(params={"stream": True, "model": "m"}, virtual_key=key)
                    name = len(text), content_type, key
                    assert got.headers["content-type"] == "text/event-stream", name
                    assert got.body.count(b"event: image_generation.completed") == 1, name
                    assert text.encode() in got.body, name


async def test_streaming_provider_with_mistyped_events_or_json_is_understood() -> None:
    body = orjson.dumps({"created": 1, "data": [{"b64_json": B64}]})
    for reply in (
        _stream(_events(B64), "text/plain"),
        _stream(_events(B64), "application/octet-stream"),
        _stream(body, "text/event-stream"),
    ):
        async with AsyncExitStack() as stack:
            fake = await stack.enter_async_context(provider(reply))
            key = f"{{provider: openrouter, api_key: k, custom_host: {fake.url}/v1}}"
            ours = await stack.enter_async_context(gateway(f"virtual_keys: {{r: {key}}}"))
            params = {"stream": True, "model": "openai/gpt-image-1"}
            got = await ours.draw(params=params, virtual_key="r")
            assert got.body.count(b"event: image_generation.completed") == 1
