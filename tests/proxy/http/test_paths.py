"""Clients that are written for another server: their paths, and where they send the key."""

from __future__ import annotations

import asyncio
import base64

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.support.gateway import (
    ANSWER,
    KEY,
    PATH,
    Gateway,
    gateway,
    gateway_to,
    json_reply,
    key_to,
)

BODY = {"prompt": "a cube", "model": "gpt-image-1"}
CONFIG = {"x-portkey-virtual-key": "up"}
BASIC = base64.b64encode(f"anyone:{KEY}".encode()).decode()
AZURE = "/openai/deployments/my-image/images/generations?api-version=2025-04-01-preview"


async def post(ours: Gateway, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    sent = {**CONFIG, **{name.replace("_", "-"): it for name, it in headers.items()}}
    async with ours.session.post(ours.url + path, json=BODY, headers=sent) as got:
        body = await got.json()
        return got.status, body.get("error", {})


async def test_a_key_is_taken_from_where_other_clients_put_it() -> None:
    async with gateway_to() as (ours, theirs):
        for named in ({"api_key": KEY}, {"authorization": f"Basic {BASIC}"}):
            assert await post(ours, PATH, **named) == (200, {}), named
        sent = [str(request.headers) for request in theirs.requests]
        assert not [it for it in sent if KEY in it or BASIC in it]


@pytest.mark.parametrize(
    "named",
    [
        {"api_key": "another"},
        {"api_key": KEY, "authorization": "Bearer another"},
        {"api_key": KEY, "x_portkey_api_key": "another"},
        {"authorization": "Basic " + base64.b64encode(KEY.encode()).decode()},
        {"authorization": "Basic " + base64.b64encode(f"{KEY}:x".encode()).decode()},
        {"authorization": "Basic not-base64!"},
        {"authorization": "Basic /w=="},
        {"authorization": "Basic"},
    ],
)
async def test_a_key_elsewhere_must_be_right_too(named: dict[str, str]) -> None:
    async with gateway_to() as (ours, theirs):
        status, error = await post(ours, PATH, **named)
        assert (status, error["code"]) == (401, "invalid_api_key")
        assert KEY not in error["message"]
        assert theirs.requests == []


async def test_azures_paths_are_served_and_the_deployment_is_the_model() -> None:
    async with gateway_to() as (ours, theirs):
        assert await post(ours, AZURE, api_key=KEY) == (200, {})
        assert theirs.sent == {**BODY, "model": "my-image"}
        for path in ("/openai/v1/images/generations", "/openai/images/generations"):
            assert await post(ours, path + "?api-version=preview", api_key=KEY) == (200, {})
            assert theirs.sent == BODY
        assert {request.path for request in theirs.requests} == {PATH}


async def test_paths_that_are_joined_carelessly_are_served() -> None:
    async with gateway_to() as (ours, theirs):
        for path in (f"/{PATH}", f"{PATH}/", "/v1//images/generations", "//images/generations//"):
            assert await post(ours, path, api_key=KEY) == (200, {}), path
        assert len(theirs.requests) == 4


async def test_a_page_that_a_proxy_may_hide_has_one_spelling() -> None:
    async with gateway("metrics: {access: open}\n") as ours:
        for page in ("/metrics", "/healthz", "/readyz"):
            for path, status in ((page, 200), (f"{page}/", 404), (f"/{page}", 404)):
                url = URL(ours.url + path, encoded=True)
                async with ours.session.get(url) as got:
                    assert got.status == status, path


async def test_the_model_list_is_below_the_base_url_of_every_client() -> None:
    async with gateway("virtual_keys: {box: {provider: sandbox}}\n") as ours:
        listed = (await ours.ask(method="GET", path="/v1/models")).json
        assert listed["data"]
        for base in ("", "/openai/v1", "/openai", "//v1", "/openai//v1"):
            got = await ours.ask(method="GET", path=f"{base}/models")
            assert (got.status, got.json) == (200, listed), base
            for name in ("@box/sandbox-1", "%40box%2Fsandbox-1", "@box/sandbox-1/"):
                one = await ours.ask(method="GET", path=f"{base}/models/{name}")
                assert (one.status, one.json) == (200, listed["data"][0]), (base, name)


async def test_a_careless_path_needs_a_key_like_any_other() -> None:
    async with gateway_to() as (ours, theirs):
        for path in (f"/{PATH}", AZURE, "//v1/models/"):
            assert (await post(ours, path))[0] in (401, 405), path
        assert theirs.requests == []


async def test_a_key_that_coalesces_pays_once_for_a_repeated_request() -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def slowly(request: web.Request) -> web.Response:
        del request
        asked.set()
        await answered.wait()
        return json_reply(ANSWER)

    async def patiently(ours: Gateway) -> int:
        return (await post(ours, PATH, api_key="easel-forum-key-0123456789"))[0]

    forum = "api_keys: {forum: {key: easel-forum-key-0123456789, coalesce: true}}\n"
    async with gateway_to(slowly) as (ours, theirs):
        assert await ours.reload(forum + key_to(theirs), base="log: {format: json}\n") == []
        impatient = aiohttp.ClientTimeout(0.01)
        first = asyncio.create_task(patiently(ours))
        await asked.wait()
        with pytest.raises(TimeoutError):
            async with ours.session.post(
                ours.url + PATH,
                json=BODY,
                headers={**CONFIG, "api-key": "easel-forum-key-0123456789"},
                timeout=impatient,
            ):
                pass
        second = asyncio.create_task(patiently(ours))
        await asyncio.sleep(0.05)
        answered.set()
        assert [await first, await second] == [200, 200]
        assert len(theirs.requests) == 1
