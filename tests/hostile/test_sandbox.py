"""The built-in provider: where it exists, what it holds while it draws, and whom it serves."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from adapters.errors import ImageError
from proxy.sandbox import SandboxServer
from proxy.sandbox.render import MAX_PIXELS_DRAWN, RenderPool, pixels_held
from proxy.sandbox.request import SandboxRequest, parse_request
from proxy.sandbox.server import SECRET_HEADER
from proxy.settings.loader import default_settings
from tests.support.gateway import gateway

NAMED: tuple[dict[str, Any], ...] = (
    {"provider": "sandbox"},
    {"config": '{"provider":"sandbox"}'},
    {"config": '{"targets":[{"provider":"sandbox"}],"strategy":{"mode":"fallback"}}'},
)
LARGEST = {"size": "3840x2160"}


@pytest.mark.parametrize("named", NAMED)
async def test_a_gateway_whose_settings_do_not_name_it_has_no_sandbox(
    named: dict[str, str],
) -> None:
    async with gateway() as ours:
        got = await ours.draw(params={"size": "64x64"}, **named)
        assert (got.status, got.error["code"]) == (400, "unknown_provider")
        assert "`sandbox: true`" in got.error["message"]
        for more in (
            "sandbox: true",
            "virtual_keys: {box: {provider: sandbox}}",
            "configs: {box: {targets: [{provider: sandbox}]}}",
        ):
            assert not await ours.reload(more)
            assert (await ours.draw(params={"size": "64x64"}, **named)).status == 200
        assert not await ours.reload("sandbox: false")
        assert (await ours.draw(params={"size": "64x64"}, **named)).status == 400


async def test_the_setting_is_true_or_false() -> None:
    async with gateway() as ours:
        assert await ours.reload("sandbox: [1]")
    assert default_settings({}).sandbox


def order(**params: Any) -> SandboxRequest:
    return parse_request(orjson.dumps({"prompt": "fox", **params}))


def test_what_is_drawn_at_once_has_a_bound() -> None:
    pool = RenderPool()
    stream = order(**LARGEST, stream=True, partial_images=3)
    reserved = [pool.reserve(stream) for _ in range(MAX_PIXELS_DRAWN // pixels_held(stream))]
    for it in reserved:
        it.__enter__()
    for params in ({**LARGEST}, {"n": 10}, {**LARGEST, "n": 10}, {**LARGEST, "stream": True}):
        if pool.pixels + pixels_held(order(**params)) > MAX_PIXELS_DRAWN:
            with pytest.raises(ImageError) as refused, pool.reserve(order(**params)):
                pass
            assert (refused.value.status, refused.value.code) == (503, "overloaded")
    for it in reserved:
        it.__exit__(None, None, None)
    assert pool.pixels == 0
    with pool.reserve(order(**LARGEST, n=10)):
        pass
    pool.close()


async def test_a_request_beyond_the_bound_is_refused_and_the_others_are_drawn() -> None:
    async with gateway("sandbox: true") as ours:
        params = {"size": "2048x2048", "n": 10, "output_format": "jpeg"}
        drawing = [
            asyncio.ensure_future(ours.draw(f"{number}", params=params, provider="sandbox"))
            for number in range(4)
        ]
        got = sorted([(await it).status for it in drawing])
        assert got == [200, 200, 503, 503]


async def test_the_sandbox_serves_no_other_process() -> None:
    sandbox = SandboxServer()
    url = await sandbox.start() + "/images/generations"
    foreign: tuple[dict[str, str], ...] = (
        *({}, {SECRET_HEADER: ""}, {SECRET_HEADER: "0" * 64}, {"host": "evil.example"}),
        *({SECRET_HEADER: "\udcff"}, SandboxServer().headers),
    )
    body = {"prompt": "fox", "size": "64x64"}
    async with aiohttp.ClientSession() as session:
        for headers in foreign:
            async with session.post(url, json=body, headers=headers) as got:
                assert got.status == 403
        async with session.post(url, json=body, headers=sandbox.headers) as got:
            assert got.status == 200
    await sandbox.stop()


async def test_no_client_and_no_log_sees_the_secret() -> None:
    async with gateway("sandbox: true") as ours:
        params = {"size": "64x64"}
        for more in ({}, {"x_easel_dry_run": "true"}):
            got = await ours.draw(params=params, provider="sandbox", **more)
            assert got.status == 200
            assert SECRET_HEADER not in f"{got.headers}{got.body!r}"
        assert SECRET_HEADER not in await ours.access_log()
