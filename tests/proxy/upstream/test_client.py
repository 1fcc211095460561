"""Conversations with a provider: timeouts, and the connections that they release."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiohttp import web

from tests.support.gateway import B64, Reply, gateway, gateway_to, provider
from tests.support.raw_http import connections, deaf, gateway_at, shout

UP = {"virtual_key": "up"}
POLLED = {"virtual_key": "polled"}
FLUX = {"model": "flux-2-pro"}
SHORT = "timeouts: {total: 0.2}\n"


async def silent(request: web.Request) -> web.Response:
    """Send nothing until the client disconnects."""
    while request.transport and not request.transport.is_closing():  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.01)
    return web.Response()


async def test_the_requests_own_timeout_is_a_408_in_portkeys_words() -> None:
    async with gateway_to(silent) as (ours, _):
        got = await ours.draw(request_timeout="150", **UP)
        assert (got.status, got.json) == (
            408,
            {
                "error": {
                    "message": "Request exceeded the timeout sent in the request: 150ms",
                    "type": "timeout_error",
                    "param": None,
                    "code": None,
                }
            },
        )
        assert got.headers["x-portkey-trace-id"]
        assert got.headers["x-portkey-provider"] == "openai"


async def test_the_header_overrides_the_configs_timeout() -> None:
    config = '{"virtual_key": "up", "request_timeout": 60000}'
    async with gateway_to(silent) as (ours, _):
        got = await ours.draw(config=config, request_timeout="100")
        assert (got.status, "100ms" in got.error["message"]) == (408, True)


async def test_a_configs_timeout_applies() -> None:
    async with gateway_to(silent) as (ours, _):
        got = await ours.draw(config='{"virtual_key": "up", "request_timeout": 100}')
        assert (got.status, "100ms" in got.error["message"]) == (408, True)


@pytest.mark.parametrize("asked", [{}, {"request_timeout": "60000"}])
async def test_the_total_timeout_is_a_504(asked: dict[str, str]) -> None:
    async with gateway_to(silent, SHORT) as (ours, _):
        got = await ours.draw(**asked, **UP)
        assert (got.status, got.error["code"]) == (504, "timeout")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "soon", "3600001", "٣", "1" * 4400])
async def test_a_timeout_that_is_not_a_number_is_a_400(text: str) -> None:
    async with gateway_to() as (ours, fake):
        got = await ours.draw(request_timeout=text, **UP)
        assert (got.status, got.error["param"]) == (400, "x-portkey-request-timeout")
        assert not fake.requests


async def test_a_started_response_may_exceed_the_total_timeout() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(2):
            await response.write(b"event: a\ndata: {}\n\n")
            await asyncio.sleep(0.1)
        return response

    async with gateway_to(slow, "timeouts: {total: 0.35}\n") as (ours, _):
        got = await ours.draw(params={"stream": True}, request_timeout="300", **UP)
        assert (got.status, got.body.count(b"event: a")) == (200, 2)


def jobs(picture: Reply) -> Reply:
    """Return a provider of jobs that are done at the first poll; `picture` serves the URL."""

    async def reply(request: web.Request) -> web.StreamResponse:
        if request.path == "/a.png":
            return await picture(request)
        origin = str(request.url.origin())
        return web.json_response(
            {"polling_url": origin, "status": "Ready", "result": {"sample": f"{origin}/a.png"}}
        )

    return reply


def settings(url: str) -> str:
    stored = f"{{provider: black-forest-labs, api_key: k, custom_host: '{url}'}}"
    return f"virtual_keys: {{polled: {stored}}}\n"


async def test_the_total_timeout_covers_the_start_of_a_download() -> None:
    async with provider(jobs(silent)) as fake, gateway(settings(fake.url) + SHORT) as ours:
        wanted = {**FLUX, "response_format": "b64_json"}
        assert (await ours.draw(params=wanted, **POLLED)).status == 504
        assert (await ours.draw(params=wanted, request_timeout="100", **POLLED)).status == 408


async def test_endless_polling_is_stopped() -> None:
    async def pending(request: web.Request) -> web.Response:
        await asyncio.sleep(0.01)
        return web.json_response({"polling_url": str(request.url.origin()), "status": "Pending"})

    async with provider(pending) as fake, gateway(settings(fake.url) + SHORT) as ours:
        assert (await ours.draw(params=FLUX, **POLLED)).status == 504


@pytest.mark.parametrize("asked", [{}, {"request_timeout": "100"}])
async def test_no_connection_stays_open_after_a_timeout(asked: dict[str, str]) -> None:
    async with gateway_to(silent, SHORT) as (ours, _):
        await asyncio.gather(*(ours.draw(**asked, **UP) for _ in range(5)))
        assert connections(ours) == 0


async def test_no_connection_stays_open_after_a_disconnect() -> None:
    noticed = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"event: a\ndata: {}\n\n" * 1000)
        noticed.set()
        return response

    async with gateway_to(endless, "jobs: {on_disconnect: cancel}\n") as (ours, _):
        with suppress(TimeoutError):
            await asyncio.wait_for(ours.draw(params={"stream": True}, **UP), 0.2)
        await asyncio.wait_for(noticed.wait(), 5)
        assert connections(ours) == 0


async def test_an_early_refusal_of_a_large_body_is_passed_on() -> None:
    refusal = b'{"error": {"message": "too large", "type": "x"}}'
    head = b"HTTP/1.1 413 X\r\ncontent-type: application/json\r\ncontent-length: 48\r\n\r\n"
    large = b'{"prompt": "a", "image": "' + b"x" * 9_000_000 + b'"}'
    async with deaf(head + refusal) as url, gateway_at(url) as ours, asyncio.timeout(5):
        got = await shout(ours, b"x-portkey-virtual-key: up", body=large)
        assert (got.status, got.body) == (413, refusal)


async def test_the_sandbox_needs_no_network() -> None:
    async with gateway("sandbox: true\n") as ours:
        got = await ours.draw(params={"size": "64x64"}, provider="sandbox")
        assert (got.status, got.headers["x-portkey-provider"]) == (200, "sandbox")


async def test_conversations_are_independent() -> None:
    async def echo(request: web.Request) -> web.Response:
        asked = await request.json()
        await asyncio.sleep(0.01 * (len(asked["prompt"]) % 3))
        entry = {"b64_json": B64, "revised_prompt": asked["prompt"]}
        return web.json_response({"data": [entry]}, headers={"x-request-id": asked["prompt"]})

    async with gateway_to(echo) as (ours, _):
        prompts = ["p" * n for n in range(1, 30)]
        for prompt, got in zip(
            prompts, await asyncio.gather(*(ours.draw(it, **UP) for it in prompts)), strict=True
        ):
            assert got.json["data"][0]["revised_prompt"] == got.headers["x-request-id"] == prompt
