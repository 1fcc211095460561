"""Responses that the gateway builds: images as base64 and as URLs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager

import aiohttp
import orjson
import pytest
from aiohttp import web

from adapters import get_adapter
from adapters.contract import Credentials
from proxy.context import ATTEMPT, ERROR_CODE
from proxy.errors import UpstreamFailed
from proxy.pipeline.response import stream_response
from proxy.routing.attempt import Attempt, ResponseCapture
from proxy.routing.plan import Target
from proxy.upstream.client import PEEK_LIMIT
from tests.support.gateway import (
    B64,
    OURS,
    PATH,
    PNG,
    Gateway,
    Provider,
    always,
    gateway,
    gateway_to,
    json_reply,
    provider,
    served,
)
from tests.support.raw_http import connections

UP = {"virtual_key": "up"}


async def test_a_success_without_a_picture_is_a_bad_gateway() -> None:
    async with gateway_to(always({"created": 1, "data": []})) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "no_picture")


async def test_an_html_success_is_a_bad_gateway() -> None:
    async def html(request: web.Request) -> web.Response:
        del request
        return web.Response(text="<html>" + "x" * 3 * PEEK_LIMIT, content_type="text/html")

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


OTHER = """
virtual_keys:
  up: {{provider: stability-ai, api_key: test-key-0123456789, custom_host: {url}}}
"""


async def png(request: web.Request) -> web.Response:
    del request
    return web.Response(body=PNG, content_type="image/png", headers={"seed": "1"})


def _stability(fake: Provider) -> AbstractAsyncContextManager[Gateway]:
    return gateway(OTHER.format(url=fake.url))


async def test_raw_bytes_become_base64() -> None:
    async with provider(png) as fake, _stability(fake) as ours:
        got = await ours.draw(params={"model": "stable-image-core"}, **UP)
        assert base64.b64decode(got.json["data"][0]["b64_json"]) == PNG
        assert got.json["created"] > 1_700_000_000


async def test_a_large_download_is_encoded_while_it_arrives() -> None:
    waiting = asyncio.Event()
    size = 3_000_000

    async def reply(request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return json_reply({"data": [{"url": str(request.url.with_path("/p"))}]})
        response = web.StreamResponse()
        response.content_length = size
        await response.prepare(request)
        await response.write(PNG + bytes(500_000))
        await waiting.wait()
        await response.write(bytes(size - 500_000 - len(PNG)))
        return response

    async with gateway_to(reply) as (ours, _):
        asked = {"prompt": "a", "response_format": "b64_json"}
        headers = {**OURS, "x-portkey-virtual-key": "up"}
        async with ours.session.post(ours.url + PATH, json=asked, headers=headers) as got:
            body = await got.content.read(1000)
            waiting.set()
            body += await got.read()
        [entry] = orjson.loads(body)["data"]
        assert base64.b64decode(entry["b64_json"])[: len(PNG)] == PNG
        assert len(base64.b64decode(entry["b64_json"])) == size
        assert int(got.headers["content-length"]) == len(body)
        assert got.headers["x-easel-receipt"] == f"measured 1=1x1;png;{size}"


async def test_a_download_that_breaks_off_never_ends_cleanly() -> None:
    async def reply(request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return json_reply({"data": [{"url": str(request.url.with_path("/p"))}]})
        response = web.StreamResponse()
        response.content_length = 3_000_000
        await response.prepare(request)
        await response.write(PNG + bytes(500_000))
        assert request.transport
        request.transport.abort()
        return response

    async with gateway_to(reply) as (ours, _):
        asked = {"prompt": "a", "response_format": "b64_json"}
        headers = {**OURS, "x-portkey-virtual-key": "up"}
        with pytest.raises(aiohttp.ClientPayloadError):
            async with ours.session.post(ours.url + PATH, json=asked, headers=headers) as got:
                await got.read()


async def test_a_providers_url_is_taken_over_where_the_settings_say_so() -> None:
    async def reply(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(body=PNG)
        return json_reply({"data": [{"url": str(request.url.with_path("/p.png"))}]})

    async with gateway_to(reply, "blobs: {persist_urls: true}") as (ours, fake):
        [entry] = (await ours.draw(params={"response_format": "url"}, **UP)).json["data"]
        place = entry["url"].removeprefix(ours.url)
        fake.reply = None
        assert (await ours.ask(method="GET", path=place, api_key="")).body == PNG


async def test_base64_that_is_damaged_is_a_bad_gateway_where_a_url_was_asked() -> None:
    damaged = {"data": [{"b64_json": "!" * 80}]}
    async with gateway_to(always(damaged)) as (ours, _):
        params = {"model": "gpt-image-2", "response_format": "url"}
        assert (await ours.draw(params=params, **UP)).status == 502


@pytest.mark.parametrize("form", [{"response_format": "b64_json"}, {"response_format": "url"}])
async def test_base64_with_line_breaks_is_a_picture_like_any_other(form: dict[str, str]) -> None:
    picture = PNG + bytes(400_000)
    written = base64.encodebytes(picture).decode()
    async with provider(always({"data": [{"b64_json": written}]})) as fake:
        stored = f"{{provider: nebius, api_key: k, custom_host: {fake.url}}}"
        async with gateway(f"virtual_keys: {{up: {stored}}}\n") as ours:
            got = await ours.draw(params={"model": "m", **form}, **UP)
            [entry] = got.json["data"]
            if "url" in entry:
                place = entry["url"].removeprefix(ours.url)
                assert (await ours.ask(method="GET", path=place)).body == picture
            else:
                assert base64.b64decode(entry["b64_json"], validate=True) == picture


async def test_what_is_no_base64_writes_nothing_into_our_answer() -> None:
    forged = {"data": [{"b64_json": B64 + '","url":"https://a.test'}, {"b64_json": B64}]}
    async with gateway_to(always(forged)) as (ours, _):
        got = await ours.draw(params={"model": "gpt-image-2"}, **UP)
        assert [entry.keys() for entry in got.json["data"]] == [{"b64_json"}]
        assert "failed images=1>bad_answer" in got.headers["x-easel-receipt"]


async def test_a_picture_that_drips_is_not_waited_for_forever() -> None:
    async def reply(request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return json_reply({"data": [{"url": str(request.url.with_path("/p"))}]})
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(PNG + bytes(100_000))
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"\0")
                await asyncio.sleep(0.05)
        return response

    settings = "blobs: {persist_urls: true}\ntimeouts: {total: 1}\n"
    async with gateway_to(reply, settings) as (ours, _):
        got = await ours.draw(params={"response_format": "url"}, **UP)
        assert (got.status, got.error["code"], connections(ours)) == (504, "timeout", 0)


async def answer_with(failure: UpstreamFailed | None) -> tuple[web.Request, ResponseCapture]:
    """Send a response whose body is "begun", and then raise `failure`, if there is one."""
    seen: list[web.Request] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"begun"
        if failure:
            raise failure

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        attempt = Attempt(Target(get_adapter("openai"), Credentials("k"), ""), {}, None)
        attempt.capture = ResponseCapture(100)
        request[ATTEMPT] = attempt
        response = web.StreamResponse()
        if not failure:
            return await stream_response(request, response, pieces())
        with pytest.raises(UpstreamFailed):
            await stream_response(request, response, pieces())
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    async with served(app) as url, aiohttp.ClientSession() as session, session.get(url) as got:
        assert await got.read() == b"begun"
    recording = seen[0][ATTEMPT].capture
    assert recording
    return seen[0], recording


async def test_a_body_that_is_written_to_its_end_is_recorded() -> None:
    _, recording = await answer_with(None)
    assert (recording.complete, recording.chunks) == (True, [b"begun"])


async def test_a_body_that_breaks_off_is_told_and_not_recorded_as_whole() -> None:
    request, recording = await answer_with(UpstreamFailed("lost", code="connection_lost"))
    assert request[ERROR_CODE] == "connection_lost"
    assert not recording.complete
