"""Parameters become provider calls and a receipt, or a 400 that names the parameter."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from tests.support.gateway import PNG, gateway, gateway_to, provider

UP = {"virtual_key": "up"}


async def png(request: web.Request) -> web.Response:
    del request
    return web.Response(body=PNG, content_type="image/png")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"model": 3}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"response_format": "jpeg"}, "response_format"),
    ],
)
async def test_what_the_gateway_reads_itself_is_checked_for_every_provider(
    params: Any, param: str
) -> None:
    async with gateway_to() as (ours, fake):
        got = await ours.draw(params=params, **UP)
        assert (got.status, got.error["param"], fake.requests) == (400, param, [])


async def test_a_provider_of_the_clients_shape_gets_just_what_the_client_said() -> None:
    body = b'{ "prompt": "a", "n": 9, "size": "odd", "new": {"x": [1, 1.0]} }'
    async with gateway_to() as (ours, fake):
        await ours.ask(body, **UP)
        assert fake.bodies == [body.replace(b" ", b"")]


STABILITY = "virtual_keys: {{up: {{provider: stability-ai, api_key: k, custom_host: '{url}'}}}}"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"size": "9x9"}, "size"),
        ({"n": 11}, "n"),
        ({"n": "2"}, "n"),
        ({"seed": -1}, "seed"),
        ({"quality": "best"}, "quality"),
        ({"prompt": "x" * 10_001}, "prompt"),
        ({"model": "../../v1/user"}, "model"),
    ],
)
async def test_what_is_out_of_range_is_named(params: Any, param: str) -> None:
    async with provider(png) as fake, gateway(STABILITY.format(url=fake.url)) as ours:
        got = await ours.draw(params={"model": "stable-image-core", **params}, **UP)
        assert (got.status, got.error["param"], fake.requests) == (400, param, [])


STYLED = {"model": "stable-image-core", "size": "1792x1024", "style": "vivid"}


async def test_what_was_changed_and_left_out_is_in_the_receipt() -> None:
    async with provider(png) as fake, gateway(STABILITY.format(url=fake.url)) as ours:
        got = await ours.draw(params=STYLED, **UP)
        receipt = got.headers["x-easel-receipt"]
        assert got.status == 200
        assert receipt.startswith("rounded size=1792x1024>aspect_ratio=16:9, dropped style=vivid")
        assert receipt.endswith("measured 1=1x1;png;70, asked 1=1792x1024")


@pytest.mark.parametrize("param", ["style", "size"])
async def test_strict_refuses_what_would_be_left_out_or_changed(param: str) -> None:
    async with provider(png) as fake, gateway(STABILITY.format(url=fake.url)) as ours:
        params = {"model": "stable-image-core", param: STYLED[param]}
        got = await ours.draw(params=params, x_easel_unsupported="strict", **UP)
        assert (got.status, got.error["param"]) == (400, param)
        assert got.error["code"] == "unsupported_parameter"
        assert "Stability AI" in got.error["message"]


ASKED = '{"virtual_key": "up", "unsupported": "%s"}'


@pytest.mark.parametrize(
    ("settings", "config", "header", "status"),
    [
        *(("strict", "", "", 400), ("strict", "adapt", "", 200), ("adapt", "strict", "", 400)),
        *(("adapt", "strict", "pass", 200), ("strict", "adapt", "strict", 400)),
    ],
)
async def test_the_policy_is_the_headers_or_the_configs_or_the_settings(
    settings: str, config: str, header: str, status: int
) -> None:
    chosen = f"images: {{unsupported: {settings}}}\n"
    async with provider(png) as fake, gateway(chosen + STABILITY.format(url=fake.url)) as ours:
        named = {"config": ASKED % config} if config else UP
        got = await ours.draw(params=STYLED, x_easel_unsupported=header, **named)
        assert got.status == status


async def test_pass_sends_on_what_no_table_knows() -> None:
    params = {"model": "stable-image-core", "brand_new": 7, "webhook": "https://evil.test"}
    async with provider(png) as fake, gateway(STABILITY.format(url=fake.url)) as ours:
        got = await ours.draw(params=params, x_easel_unsupported="pass", **UP)
        assert "passed brand_new=7, dropped webhook" in got.headers["x-easel-receipt"]
        assert b'name="brand_new"' in fake.bodies[0]
        assert b"evil.test" not in fake.bodies[0]


async def test_strict_lets_pass_what_can_be_said() -> None:
    plain = {"model": "stable-image-core", "size": "1024x1024", "user": "u", "background": "auto"}
    async with provider(png) as fake, gateway(STABILITY.format(url=fake.url)) as ours:
        assert (await ours.draw(params=plain, x_easel_unsupported="strict", **UP)).status == 200


async def test_the_highest_seed_is_good_for_several_pictures() -> None:
    highest = {"model": "stable-image-core", "seed": 4_294_967_294, "n": 3}
    async with provider(png) as fake, gateway(STABILITY.format(url=fake.url)) as ours:
        assert (await ours.draw(params=highest, **UP)).status == 200
        seeds = {body.partition(b'name="seed"\r\n\r\n')[2].split(b"\r")[0] for body in fake.bodies}
        assert seeds == {b"4294967294", b"0", b"1"}


OWN = """virtual_keys: {{up: {{provider: openai, api_key: k, custom_host: '{url}',
  openai_response_format: b64_json}}}}"""


async def test_what_a_provider_of_the_clients_shape_does_not_get_is_in_the_receipt() -> None:
    async with provider() as fake, gateway(OWN.format(url=fake.url)) as ours:
        got = await ours.draw(params={"size": "auto", "steps": 4}, **UP)
        assert got.headers["x-easel-receipt"].startswith("dropped size=auto")
        assert b"size" not in fake.bodies[0]
