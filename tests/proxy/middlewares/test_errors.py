"""Failures become OpenAI errors; an internal error neither shows nor logs the request."""

from __future__ import annotations

import io
import logging

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.app import make_app
from proxy.observability.access_log import ACCESS_LOG
from proxy.settings.loader import parse
from tests.support.gateway import KEY, OURS, SETTINGS, always, gateway, gateway_to, served

SECRET = "a prompt that nobody may read"


async def broken(request: web.Request) -> web.StreamResponse:
    del request
    raise KeyError(SECRET)


async def broken_midway(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"begun")
    raise KeyError(SECRET)


def app_with(handler: object) -> web.Application:
    app = make_app(parse(SETTINGS, environ={}), log_to=io.StringIO())
    app.router.add_get("/v1/broken", handler)  # type: ignore[arg-type]  # one of the two above
    return app


async def test_a_bug_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with served(app_with(broken)) as url, aiohttp.ClientSession() as session:
        got = await session.get(url + "/v1/broken", headers=OURS)
        body = await got.read()
    assert (got.status, orjson.loads(body)["error"]["type"]) == (500, "server_error")
    assert SECRET not in body.decode() + caplog.text
    assert "KeyError" in caplog.text
    assert got.headers["x-portkey-trace-id"] in caplog.text


async def test_nothing_is_written_into_an_answer_that_has_begun(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "aiohttp.server")
    async with served(app_with(broken_midway)) as url, aiohttp.ClientSession() as session:
        got = await session.get(url + "/v1/broken", headers=OURS)
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.read()


async def test_a_failure_of_the_gateways_own_in_a_target_is_marked() -> None:
    nobody = "virtual_keys: {up: {provider: openai, custom_host: 'http://127.0.0.1:1'}}"
    async with gateway(nobody) as ours:
        got = await ours.draw(virtual_key="up")
        assert (got.status, got.error["code"]) == (502, "provider_unreachable")
        assert got.headers["x-portkey-gateway-exception"] == "true"


async def test_a_failure_of_the_providers_is_not() -> None:
    async with gateway_to(always({"error": {"message": "m"}}, 500)) as (ours, _):
        got = await ours.draw(virtual_key="up")
        assert "x-portkey-gateway-exception" not in got.headers


async def test_what_is_allowed_is_said_where_a_method_is_not() -> None:
    async with gateway() as ours:
        got = await ours.ask(method="GET")
        assert (got.status, got.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("code", ["a\n200 GET /healthz", "a secret prompt", "x" * 65, "\x1b[2J"])
async def test_what_a_provider_calls_its_code_does_not_write_our_log(code: str) -> None:
    failure = {"error": {"message": "m", "type": "t", "code": code}}
    async with gateway_to(always(failure, 400)) as (ours, _):
        assert (await ours.draw(virtual_key="up")).error["code"] == code
        ours.app[ACCESS_LOG].flush()
        assert orjson.loads(ours.log.getvalue())["error"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "shown"), [("/v1/images/edits", "POST /v1/images/edits"), (f"/v1/{KEY}", "POST of")]
)
async def test_a_404_names_a_plain_path_and_no_path_that_could_hold_a_key(
    path: str, shown: str
) -> None:
    async with gateway() as ours:
        got = await ours.ask(path=path)
        assert (got.status, got.error["code"]) == (404, "unknown_route")
        assert f"Not found: {shown}" in got.error["message"]
        assert KEY not in got.error["message"]
