"""What the client gets: verbatim relays, forms of pictures, cuts."""

from __future__ import annotations

import asyncio
import base64
from contextlib import AbstractAsyncContextManager

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.upstream.conversation import SMALL
from tests.proxy.gateway import (
    B64,
    PATH,
    PNG,
    Gateway,
    Provider,
    always,
    gateway,
    gateway_to,
    provider,
)

UP = {"virtual_key": "up"}
LARGE = b'{"created":1,"data":[{"b64_json":"' + b"A" * (3 * SMALL) + b'"}],"unknown":"kept"}'


async def large(request: web.Request) -> web.Response:
    del request
    return web.Response(body=LARGE, content_type="application/json", headers={"x-request-id": "r"})


async def test_a_large_answer_goes_through_byte_for_byte() -> None:
    async with gateway_to(large) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.body) == (200, LARGE)
        assert got.headers["content-length"] == str(len(LARGE))
        assert got.headers["x-request-id"] == "r"


async def test_a_small_answer_goes_through_byte_for_byte_too() -> None:
    odd = {"data": [{"b64_json": B64, "x": 1}], "created": 1, "new": None}
    async with gateway_to(always(odd)) as (ours, _):
        assert (await ours.draw(**UP)).body == orjson.dumps(odd)


async def test_a_success_that_holds_an_error_is_no_success() -> None:
    refused = {"error": {"message": "no", "type": "x", "code": "moderation_blocked"}}
    async with gateway_to(always(refused)) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (400, "moderation_blocked")


async def test_an_error_of_unknown_length_is_found_in_a_success_too() -> None:
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"error": {"message": "no", ')
        await response.write(b'"type": "x", "code": "moderation_blocked"}}')
        return response

    async with gateway_to(chunked) as (ours, _):
        assert (await ours.draw(**UP)).status == 400


async def test_a_large_answer_of_unknown_length_is_relayed_whole() -> None:
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        for start in range(0, len(LARGE), 10_000):
            await response.write(LARGE[start : start + 10_000])
        return response

    async with gateway_to(chunked) as (ours, _):
        assert (await ours.draw(**UP)).body == LARGE


async def test_a_success_without_a_picture_is_a_bad_gateway() -> None:
    async with gateway_to(always({"created": 1, "data": []})) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "no_picture")


async def test_an_html_success_is_a_bad_gateway() -> None:
    async def html(request: web.Request) -> web.Response:
        del request
        return web.Response(text="<html>" + "x" * 3 * SMALL, content_type="text/html")

    async with gateway_to(html) as (ours, _):
        assert (await ours.draw(**UP)).status == 502


async def test_a_providers_error_is_relayed_with_its_status_and_bytes() -> None:
    said = {"error": {"message": "slow down", "type": "t", "param": None, "code": "c", "more": 1}}
    async with gateway_to(always(said, 429, retry_after="7")) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.json, got.headers["retry-after"]) == (429, said, "7")


async def test_base64_is_given_behind_a_url_of_ours_where_a_url_was_asked() -> None:
    async with gateway_to() as (ours, fake):
        got = await ours.draw(params={"model": "gpt-image-2", "response_format": "url"}, **UP)
        place = got.json["data"][0]["url"].removeprefix(ours.url)
        assert place.startswith("/v1/images/blobs/")
        assert (await ours.ask(method="GET", path=place, api_key="")).body == PNG
        assert got.headers["x-easel-receipt"] == f"measured 1=1x1;png;{len(PNG)}"
        assert "response_format" not in fake.sent


async def test_a_url_is_downloaded_where_base64_was_asked() -> None:
    async def reply(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(body=PNG)
        url = str(request.url.with_path("/picture.png"))
        return web.json_response({"created": 1, "data": [{"url": url, "revised_prompt": "p"}]})

    async with gateway_to(reply) as (ours, fake):
        got = await ours.draw(params={"response_format": "b64_json"}, **UP)
        assert got.json["data"] == [{"b64_json": B64, "revised_prompt": "p"}]
        assert "authorization" not in fake.requests[-1].headers


async def test_a_url_that_leads_to_no_picture_is_a_clear_failure() -> None:
    async def reply(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(text="gone", status=404)
        return web.json_response({"data": [{"url": str(request.url.with_path("/p"))}]})

    async with gateway_to(reply) as (ours, _):
        got = await ours.draw(params={"response_format": "b64_json"}, **UP)
        assert (got.status, got.error["code"]) == (502, "picture_lost")


EVENTS = b'event: image_generation.completed\ndata: {"b64_json":"' + b"A" * 2_000_000 + b'"}\n\n'


async def test_events_go_through_as_they_come() -> None:
    waiting = asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: first\ndata: {}\n\n")
        await waiting.wait()
        await response.write(EVENTS)
        return response

    async with gateway_to(events) as (ours, _), _asking(ours, stream=True) as got:
        assert await got.content.readany() == b"event: first\ndata: {}\n\n"
        waiting.set()
        assert await got.read() == EVENTS


def _asking(ours: Gateway, **params: object) -> aiohttp.client._RequestContextManager:
    headers = {"x-portkey-api-key": "easel-test-key-0123456789", "x-portkey-virtual-key": "up"}
    return ours.session.post(ours.url + PATH, json={"prompt": "a", **params}, headers=headers)


async def test_an_answer_that_is_cut_never_ends_cleanly() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = len(LARGE)
        await response.prepare(request)
        await response.write(LARGE[: 2 * SMALL])
        assert request.transport
        request.transport.abort()
        return response

    async with gateway_to(cut) as (ours, _), _asking(ours) as got:
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.read()


async def test_events_that_are_cut_never_end_cleanly() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: first\n")
        assert request.transport
        request.transport.abort()
        return response

    async with gateway_to(cut) as (ours, _), _asking(ours, stream=True) as got:
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.read()


async def test_a_client_that_leaves_harms_nobody_else() -> None:
    async with gateway_to(large) as (ours, _):
        async with _asking(ours) as got:
            got.close()
        assert (await ours.draw(**UP)).status == 200


OTHER = """
virtual_keys:
  up: {{provider: stability-ai, api_key: test-key-0123456789, custom_host: {url}}}
"""


async def png(request: web.Request) -> web.Response:
    del request
    return web.Response(body=PNG, content_type="image/png", headers={"seed": "1"})


async def test_a_provider_without_events_gives_one_for_each_finished_picture() -> None:
    async with provider(png) as fake, _stability(fake) as ours:
        params = {"model": "stable-image-core", "stream": True, "n": 2}
        got = await ours.draw(params=params, **UP)
        assert got.headers["content-type"].startswith("text/event-stream")
        events = [line for line in got.body.split(b"\n\n") if line]
        assert len(events) == 2
        data = orjson.loads(events[0].partition(b"data: ")[2])
        assert (data["type"], data["b64_json"]) == ("image_generation.completed", B64)


def _stability(fake: Provider) -> AbstractAsyncContextManager[Gateway]:
    return gateway(OTHER.format(url=fake.url))


async def test_raw_bytes_become_base64() -> None:
    async with provider(png) as fake, _stability(fake) as ours:
        got = await ours.draw(params={"model": "stable-image-core"}, **UP)
        assert base64.b64decode(got.json["data"][0]["b64_json"]) == PNG
        assert got.json["created"] > 1_700_000_000
