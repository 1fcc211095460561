"""The built-in provider: where it exists, what it holds while it draws, and whom it serves."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, suppress
from typing import Any

import aiohttp
import orjson
import pytest

from adapters.errors import ImageError
from proxy.sandbox import SandboxServer, render
from proxy.sandbox.render import MAX_PIXELS_DRAWN, RenderPool, pixels_held
from proxy.sandbox.request import SandboxRequest, parse_request
from proxy.sandbox.server import SECRET_HEADER
from proxy.settings.loader import default_settings
from tests.support.gateway import KEY, OTHER_KEY, gateway

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
    count = MAX_PIXELS_DRAWN // pixels_held(stream)
    reserved = [pool.reserve(stream, f"{number}") for number in range(count)]
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


def test_requests_of_one_caller_leave_pixels_to_others() -> None:
    pool = RenderPool()
    flood = [order(**LARGEST, stream=True, partial_images=3), order(**LARGEST), order(n=10)]
    with ExitStack() as stack:
        for request in flood * 20:
            with suppress(ImageError):
                stack.enter_context(pool.reserve(request, "a"))
        for params in ({"size": "64x64"}, {}, {**LARGEST}):
            with pytest.raises(ImageError), pool.reserve(order(**LARGEST, n=2), "a"):
                pass
            with pool.reserve(order(**params), "b"):
                pass
    with pool.reserve(order(**LARGEST, n=10), "a"), pool.reserve(order(), "b"):
        pass
    assert (pool.pixels, pool._pixels_by_caller) == (0, {})
    pool.close()


async def test_images_of_one_caller_leave_a_thread_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def draw_stages(request: SandboxRequest, index: int) -> list[bytes]:
        if request.prompt == "flood":
            release.wait(20)
        return [b"%d" % index]

    monkeypatch.setattr(render, "_draw_stages", draw_stages)
    pool = RenderPool()
    small = order()
    large = order(prompt="flood", n=10)
    flood = [asyncio.ensure_future(pool.images(large, "a")) for _ in range(3)]
    await asyncio.sleep(0)
    flood[0].cancel()  # Its threads are busy all the same.
    try:
        async with asyncio.timeout(5):
            for caller in ("b", "c", "b"):
                assert await pool.images(small, caller) == [b"0"]
        assert not any(it.done() for it in flood[1:])
    finally:
        release.set()
    async with asyncio.timeout(20):
        assert await asyncio.gather(*flood[1:]) == [[b"%d" % it for it in range(10)]] * 2
    pool.close()


async def test_callers_are_told_apart_by_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    callers: list[str] = []
    images = RenderPool.images

    async def noted(pool: RenderPool, request: SandboxRequest, caller: str = "") -> list[bytes]:
        callers.append(caller)
        return await images(pool, request, caller)

    monkeypatch.setattr(RenderPool, "images", noted)
    async with gateway("sandbox: true") as ours:
        for key in (KEY, OTHER_KEY, KEY):
            got = await ours.draw(
                params={"size": "16x16"}, provider="sandbox", x_portkey_api_key=key
            )
            assert got.status == 200
    assert callers[0] == callers[2] != callers[1]
    assert all(callers)


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
